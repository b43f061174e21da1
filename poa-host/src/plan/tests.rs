use serde_json::json;

use super::*;

fn applied(written: Value) -> Applied {
    Applied { files: FilesSeen::of(&written), written: written.into() }
}

fn base() -> Value {
    json!({
        "metrics": ["a"],
        "admin": {"listen": "127.0.0.1:4000"},
        "handlers": {"rest": {"kind": "rest", "listen": "127.0.0.1:4002"}, "ws": {"kind": "ws"}},
        "receivers": {"local": {"kind": "sqlite", "subscribe": ["a"]}},
    })
}

fn plan(change: impl FnOnce(&mut Value)) -> Plan {
    let (old, mut new) = (base(), base());
    change(&mut new);
    Plan::of(&applied(old), &applied(new))
}

#[test]
fn the_same_configuration_changes_nothing() {
    let plan = plan(|_| {});
    assert!(plan.is_empty());
    assert!(plan.steps.iter().all(|step| step.change == Change::Keep));
    assert_eq!((plan.steps.len(), plan.to_string().as_str()), (3, "nothing changes"));
}

#[test]
fn each_section_changes_by_itself() {
    let plan = plan(|new| {
        new["handlers"]["rest"]["listen"] = "127.0.0.1:5002".into();
        new["handlers"].as_object_mut().unwrap().remove("ws");
        new["receivers"]["store"] = json!({"kind": "postgres", "url": "postgres://u:secret@h/d"});
    });
    assert!(plan.host.is_empty() && plan.restart.is_empty() && !plan.is_empty());
    assert_eq!(
        plan.to_string(),
        "replace  handlers.rest  (listen changed)\nstop     handlers.ws\nkeep     receivers.local\n\
         start    receivers.store"
    );
}

#[test]
fn a_change_of_shared_keys_replaces_the_host() {
    let plan = plan(|new| {
        new["metrics"] = json!(["a", "b"]);
        new["auth"] = json!({"secret_key": "hidden"});
        new["admin"]["listen"] = "127.0.0.1:5000".into();
    });
    assert_eq!(plan.host, ["auth added", "metrics changed"]);
    assert_eq!(plan.restart, ["admin.listen changed"]);
    assert!(!plan.to_string().contains("hidden"), "{plan}");
}

#[test]
fn a_running_host_takes_steps_that_share_no_address() {
    let live = |change: fn(&mut Value)| {
        let mut new = base();
        change(&mut new);
        Plan::of(&applied(base()), &applied(new.clone())).is_live(&new, &[])
    };
    assert!(live(|new| new["receivers"]["local"]["path"] = "x".into()));
    assert!(live(|new| new["receivers"]["more"] = json!({"kind": "sqlite"})));
    assert!(live(|new| new["handlers"]["rest"]["listen"] = "127.0.0.1:5002".into()));
    assert!(live(|new| new["handlers"]["rest"]["limits"] = json!({})));
    assert!(!live(|new| new["handlers"]["ws"]["path"] = "/x".into()));
    assert!(!live(|new| new["metrics"] = json!([])));
}

/// As when port 0 becomes the port that the system chose.
#[test]
fn an_address_that_is_still_in_use_replaces_the_host() {
    let mut new = base();
    new["handlers"]["rest"]["listen"] = "localhost:5002".into();
    let plan = Plan::of(&applied(base()), &applied(new.clone()));
    let taken = |by: &str, address: &str| vec![(by.to_owned(), address.to_owned())];
    assert!(!plan.is_live(&new, &taken("ws", "127.0.0.1:5002")));
    // It listened on all addresses of that port until now.
    assert!(!plan.is_live(&new, &taken("rest", "0.0.0.0:5002")));
    assert!(plan.is_live(&new, &taken("ws", "127.0.0.1:15002")));
    assert!(plan.is_live(&new, &taken("ws", "127.0.0.1:500")));
}

#[test]
fn a_handler_that_keeps_its_address_takes_the_socket_of_its_predecessor() {
    let mut new = base();
    new["handlers"]["rest"]["limits"] = json!({"request_timeout": "5s"});
    let plan = Plan::of(&applied(base()), &applied(new.clone()));
    let taken = |by: &str| vec![(by.to_owned(), "127.0.0.1:4002".to_owned())];
    assert!(plan.is_live(&new, &taken("rest")));
    assert!(!plan.is_live(&new, &taken("ws")));
}

#[test]
fn a_plan_round_trips() {
    let plan = plan(|new| new["handlers"]["ws"]["path"] = "/ws".into());
    let text = serde_json::to_string(&plan).unwrap();
    assert!(text.contains(r#""plugin":"handlers.ws","change":"replace","reasons":["path added"]"#));
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}
