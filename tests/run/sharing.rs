//! Several checkouts, one cache: what one has made, another need not make.

use super::support::Fleet;
use crate::nginx::{Nginx, READ_TOKEN, WRITE_TOKEN};

/// A checkout of the same project, with a token. What its task does is seen in `ran`, which is no output.
fn checkout(nginx: &Nginx, token: &str, input: &str) -> Fleet {
    let url = nginx.url();
    let text = format!(
        r#"
        [cache]
        remote = {{ url = "{url}", token_ref = "CACHE_TOKEN" }}
        trust_remote = true
        [tasks.build]
        inputs = ["src"]
        outputs = ["out/**"]
        sh = "mkdir -p out/empty; cp src out/app; chmod 755 out/app; ln -s app out/link; echo x >> ran"
        "#
    );
    Fleet::of(&text).file("src", input).var("CACHE_TOKEN", token)
}

#[test]
fn two_checkouts_share_one_cache() {
    let Some(nginx) = Nginx::start() else { return };
    let one = checkout(&nginx, WRITE_TOKEN, "same");
    one.run(["run"]).passes().has_file("ran").result("build", "pass");
    assert_eq!(nginx.names("ac").len(), 1);
    // Another place, another user: nothing runs there, and everything is there.
    let other = checkout(&nginx, READ_TOKEN, "same");
    let told = other.run(["run"]).passes().has_no_file("ran").result("build", "pass").file_says("out/app", "same");
    assert_eq!(told.receipt("build")["reused"]["remote"], true);
    assert_eq!(std::fs::read_link(other.path("out/link")).expect("it is a link").to_str(), Some("app"));
    assert!(other.exists("out/empty"));
    // Other bytes are another result.
    checkout(&nginx, READ_TOKEN, "other").run(["run"]).passes().has_file("ran");
}

#[test]
fn a_cache_that_is_away_is_done_without() {
    let Some(nginx) = Nginx::start() else { return };
    let alone = checkout(&nginx, WRITE_TOKEN, "same");
    drop(nginx);
    alone.run(["run"]).passes().has_file("ran").result("build", "pass");
}
