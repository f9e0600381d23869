//! `berth sdl convert`.

use crate::berth::Folder;

const COMPOSE: &str = "\
services:
  web:
    image: registry.example.com/web:${TAG}
    ports: ['80:8080']
    environment: {TOKEN: '${TOKEN}', COST: 5$$}
    privileged: true
    volumes: ['uploads:/srv/uploads', './site:/srv/site']
volumes: {uploads: {}}
";

#[test]
fn the_document_goes_to_standard_output_and_what_is_left_to_standard_error() {
    let folder = Folder::with(&[("compose.yaml", COMPOSE), (".env", "TAG=2\nTOKEN=\"hunter2\"\n")]);
    let ended = folder.sdl(&["convert", "compose.yaml", "--env-file", ".env"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    for line in ["    image: registry.example.com/web:2\n", "      - TOKEN=hunter2\n", "      - COST=5$\n"] {
        assert!(ended.out.contains(line), "{line}{}", ended.out);
    }
    for left in ["left out: services.web.privileged: ", "left out: services.web.volumes[1]: "] {
        assert_eq!(ended.err.matches(left).count(), 1, "{}", ended.err);
    }
    assert!(!ended.err.contains("hunter2"), "{}", ended.err);
    folder.write("deploy.yaml", &ended.out);
    assert_eq!(folder.sdl(&["validate", "deploy.yaml"]).code, 0);
    assert_eq!(folder.sdl(&["fmt", "--check", "deploy.yaml"]).code, 0);
    assert_eq!(folder.sdl(&["render", "deploy.yaml"]).code, 0);
}

#[test]
fn variables_without_a_value_are_named() {
    let ended = Folder::with(&[("compose.yaml", COMPOSE)]).sdl(&["convert", "compose.yaml"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    for name in
        ["services.web.image: the value of ${TAG}", "services.web.environment.TOKEN: the value of ${TOKEN}"]
    {
        assert!(ended.err.contains(name), "{}", ended.err);
    }
}

#[test]
fn a_document_that_is_there_is_not_overwritten_unless_forced() {
    let folder = Folder::with(&[("compose.yaml", COMPOSE), ("deploy.yaml", "mine")]);
    let kept = folder.sdl(&["convert", "compose.yaml", "--file", "deploy.yaml"]);
    assert_eq!((kept.code, folder.read("deploy.yaml").as_str()), (2, "mine"), "{}", kept.err);
    let forced = folder.sdl(&["convert", "compose.yaml", "--file", "deploy.yaml", "--force"]);
    assert_eq!((forced.code, forced.out.as_str()), (0, ""), "{}", forced.err);
    assert!(folder.read("deploy.yaml").contains("registry.example.com/web:"));
}

#[test]
fn what_makes_no_acceptable_document_ends_with_1_and_writes_nothing() {
    let folder = Folder::with(&[
        ("broken.yaml", "services: [\n  hunter2: {"),
        ("build.yaml", "services: {web: {build: ., ports: [80]}}\n"),
        ("huge.yaml", "services: {web: {image: a, ports: [80], mem_limit: 9t}}\n"),
        ("list.yaml", "- a\n"),
    ]);
    for (name, why) in [
        ("broken.yaml", "it is not read as YAML"),
        ("build.yaml", "names no image"),
        ("huge.yaml", "error[memory-out-of-range]"),
        ("list.yaml", "it has no services"),
    ] {
        let ended = folder.sdl(&["convert", name, "--file", "out.yaml"]);
        assert_eq!(ended.code, 1, "{name}: {}", ended.err);
        assert!(ended.err.contains(why) && !ended.err.contains("hunter2"), "{name}: {}", ended.err);
        assert!(!folder.path("out.yaml").exists());
    }
    assert_eq!(folder.sdl(&["convert", "missing.yaml"]).code, 2);
}
