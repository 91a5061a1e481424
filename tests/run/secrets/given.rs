//! Who is given a secret, and who is not even by the way.

use super::super::support::Fleet;
use super::{BY_ENV, BY_FILE, fleet, nothing_on_disk};

#[test]
fn a_sandbox_is_given_no_secrets_without_a_grant() {
    let text = |grant: &str| {
        format!(
            "[policies.security]\nallowed_secrets = ['BY_ENV']\ngrants = [{grant}]\n[workers.w]\nhost = 'local'\ntrust = 'sandbox'\n\
             [tasks.t]\nsecrets = ['BY_ENV']\nrun = 'true'\n"
        )
    };
    Fleet::of(&text(""))
        .run(["check"])
        .fails_with(3)
        .says("lacks the trust local or a grant, to be given secrets (it has sandbox)");
    let grant = "{ capability = 'secrets', scope = 't', reason = 'a test' }";
    Fleet::of(&text(grant)).run(["check"]).passes();
    Fleet::of(&text(&grant.replace("secrets", "release"))).run(["check"]).passes();
    Fleet::of(&text(&grant.replace("secrets", "network"))).run(["check"]).fails_with(3);
}

#[test]
fn only_who_asks_for_a_secret_is_given_its_variable() {
    let says = "sh = 'echo ${BY_ENV-none} ${BY_HAND-none} ${HTTPS_PROXY-none}'";
    let text = format!(
        "[policies.security]\nallowed_secrets = ['BY_ENV', 'HTTPS_PROXY']\n\
         [defaults]\npass_env = ['BY_*']\n\
         [tasks.default]\n{says}\n\
         [tasks.own]\npass_env = ['*']\ninputs = []\n{says}\n"
    );
    // None asks for the secret, so nothing is masked.
    let fleet = Fleet::of(&text).var("BY_ENV", BY_ENV).var("BY_HAND", "mine").var("HTTPS_PROXY", BY_FILE);
    fleet.run(["run"]).passes().log("default", "none mine none\n").log("own", "none mine none\n");
    nothing_on_disk(&fleet);
    let asks = "[tasks.asks]\nrequired_env = ['BY_ENV', 'BY_HAND']\nsecrets = [{ key = 'BY_ENV', as = 'env' }]\n";
    let text = format!("{}{asks}{says}\n", fleet.read("fleet.toml"));
    let fleet = fleet.file("fleet.toml", text);
    let told = fleet.run(["run"]).passes();
    told.log("default", "none mine none\n").log("asks", "[secret BY_ENV] mine none\n");
    nothing_on_disk(&fleet);
}

#[test]
fn who_requires_the_variable_of_a_secret_is_told_to_ask_for_it() {
    let task = "[tasks.t]\npass_env = ['BY_*']\nrequired_env = ['BY_ENV']\nrun = 'true'\n";
    let told = fleet(task).run(["run"]).fails_with(9);
    told.says("`BY_ENV` is that of a secret, which this task does not ask for: add it to `secrets`");
}

/// Where a sandbox can be had.
#[test]
fn a_sandbox_is_passed_no_secret() {
    let fleet = Fleet::of(
        "[policies.security]\nallowed_secrets = ['BY_ENV']\n[workers.w]\nhost = 'local'\ntrust = 'sandbox'\n\
         [tasks.t]\npass_env = ['BY_*']\nsh = 'echo ${BY_ENV-none}'\n",
    );
    let fleet = fleet.var("BY_ENV", BY_ENV);
    let ran = fleet.run(["run"]);
    if fleet.result("t").contains("could not be started") {
        // This machine has no sandbox.
        assert!(std::env::var_os("CI").is_none(), "{}", fleet.result("t"));
        let _ = ran.status();
        return;
    }
    ran.passes().log("t", "none\n");
}
