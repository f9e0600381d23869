//! Takes a tenant's secrets out of what the cluster says about its objects, before anybody reads or stores it.

use std::collections::BTreeMap;

use manifests::manifest::Group;
use manifests::objects::SecretValue;

/// Texts shorter than this are words that everybody uses; hiding them would hide the sentence.
const SHORTEST: usize = 4;

/// The text without env values, registry passwords and user names of the group, and without the values of its secrets.
pub(super) fn redact(text: &str, group: &Group, given: &BTreeMap<String, SecretValue>) -> String {
    let mut secrets: Vec<&str> =
        given.values().filter_map(|value| std::str::from_utf8(&value.0).ok()).collect();
    for service in &group.services {
        let init = service.x_berth.iter().flat_map(|extension| &extension.init_containers);
        let env = service.env.iter().chain(init.filter_map(|init| init.env.as_ref())).flatten();
        secrets.extend(env.filter_map(|item| item.value()));
        if let Some(login) = &service.credentials {
            secrets.extend([login.password.as_str(), login.username.as_str(), login.email.as_str()]);
        }
    }
    secrets.retain(|secret| secret.len() >= SHORTEST);
    // The longest first, so that no part of one is left over when another is inside it.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hidden_and_the_sentence_stays() {
        let group: Group = serde_json::from_value(serde_json::json!({
            "name": "g",
            "services": [{
                "name": "web", "image": "i", "command": null, "args": null, "env": ["A=hunter2", "B=hunter2000", "C=1", "D"],
                "resources": {
                    "id": 1, "cpu": {"units": {"val": "1"}}, "memory": {"size": {"val": "1"}}, "storage": [],
                    "gpu": {"units": {"val": "0"}}, "endpoints": [],
                },
                "count": 1, "expose": [],
                "credentials": {"host": "h", "email": "", "username": "user-1", "password": "pass-1"},
            }],
        }))
        .expect("a group");
        let given = BTreeMap::from([("db".to_owned(), SecretValue(b"sesame".to_vec()))]);
        let said = "env \"hunter2000\" and hunter2 of user-1:pass-1 is wrong at line 1, sesame too";
        let text = redact(said, &group, &given);
        assert_eq!(text, "env \"***\" and *** of ***:*** is wrong at line 1, *** too");
    }
}
