//! Who may serve under which host name: one lease a name, the first that claimed it.
//!
//! Names below the provider's own domain are nobody's to claim; rendering refuses them.

use std::collections::BTreeSet;

use manifests::manifest::Group;
use manifests::order::LeaseId;

/// The names that a group claims, in lower case.
pub(super) fn claims(group: &Group) -> BTreeSet<String> {
    let entries = group.services.iter().flat_map(|service| &service.expose);
    entries
        .filter(|entry| entry.global)
        .flat_map(|entry| entry.hosts.iter().flatten())
        .map(|host| host.to_ascii_lowercase())
        .collect()
}

/// The first of the wanted names that another lease holds.
pub(super) fn taken(
    lease: LeaseId,
    wanted: &BTreeSet<String>,
    held: &[(LeaseId, BTreeSet<String>)],
) -> Option<String> {
    let others = held.iter().filter(|(holder, _)| *holder != lease);
    others.flat_map(|(_, names)| wanted.intersection(names)).min().cloned()
}

#[cfg(test)]
mod tests {
    use manifests::order::Address;

    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_name_belongs_to_the_lease_that_claimed_it() {
        let lease = |oseq| LeaseId { tenant: Address([1; 20]), dseq: 1, gseq: 1, oseq };
        let held = [(lease(1), names(&["a.example", "b.example"]))];
        assert_eq!(taken(lease(1), &names(&["a.example"]), &held), None, "its own");
        assert_eq!(taken(lease(2), &names(&["c.example"]), &held), None);
        assert_eq!(taken(lease(2), &names(&["c.example", "b.example"]), &held).as_deref(), Some("b.example"));
    }
}
