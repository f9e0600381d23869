//! The files of the chart that are made from others.

use e2e::chart;

use crate::helm::tools;

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn schema_readme_and_dashboards_are_what_their_sources_make_of_them() {
    for (path, text) in chart::made(tools()).unwrap() {
        let has = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(has == text, "{} is not what its source makes of it: run cargo e2e chart", path.display());
    }
}
