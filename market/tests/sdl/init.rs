//! `berth sdl init`.

use crate::berth::Folder;

fn names() -> Vec<String> {
    let listed = Folder::new().sdl(&["init"]);
    assert_eq!(listed.code, 0, "{}", listed.err);
    listed.out.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn every_listed_template_is_written_and_accepted() {
    let names = names();
    assert!(names.len() >= 4, "{names:?}");
    for name in &names {
        let folder = Folder::new();
        let ended = folder.sdl(&["init", name]);
        assert_eq!((ended.code, ended.out.as_str()), (0, ""), "{name}: {}", ended.err);
        let validated = folder.sdl(&["validate", "deploy.yaml"]);
        assert_eq!(validated.code, 0, "{name}: {}", validated.out);
        assert!(!validated.out.contains("warning"), "{name}: {}", validated.out);
        let formatted = folder.sdl(&["fmt", "--check", "deploy.yaml"]);
        assert_eq!(formatted.code, 0, "{name} is not laid out as fmt does: {}", formatted.out);
    }
}

#[test]
fn a_file_that_is_there_is_not_overwritten_unless_forced() {
    let folder = Folder::with(&[("deploy.yaml", "mine")]);
    let ended = folder.sdl(&["init", "web"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.err.contains("deploy.yaml is there already") && ended.err.contains("--force"),
        "{}",
        ended.err
    );
    assert_eq!(folder.read("deploy.yaml"), "mine");
    assert_eq!(folder.sdl(&["init", "web", "--force"]).code, 0);
    assert_ne!(folder.read("deploy.yaml"), "mine");
}

#[test]
fn a_template_can_go_to_another_file_or_to_standard_output() {
    let folder = Folder::new();
    assert_eq!(folder.sdl(&["init", "gpu", "--file", "llm.yaml"]).code, 0);
    let printed = folder.sdl(&["init", "gpu", "--file", "-"]);
    assert_eq!(printed.out, folder.read("llm.yaml"));
    assert!(!folder.path("deploy.yaml").exists());
}

#[test]
fn an_unknown_template_is_answered_with_the_known_ones() {
    let ended = Folder::new().sdl(&["init", "kubernetes"]);
    assert_eq!(ended.code, 2);
    for name in names() {
        assert!(ended.err.contains(&name), "{}", ended.err);
    }
}
