//! A database server of the machine as a pod, and its outage.

use serde_json::Value;

use crate::holdfast::{finish, holdfast, images_are_built, the_machine, tool, workspace};

#[test]
fn orders_are_refused_while_the_database_of_pay_is_away_and_served_soon_after() {
    if tool("mariadbd").is_none() {
        return;
    }
    images_are_built();
    let _machine = the_machine();
    let folder = tempfile::tempdir().unwrap();
    // Without the broker, which takes minutes to compile, nobody can ask the books in the end.
    let text = workspace().join("experiments/database-outage.yaml");
    let text = std::fs::read_to_string(text).unwrap();
    let manifests = "[../k8s/broker, ../k8s/database, ../k8s/services, ../k8s/food-delivery]";
    let (invariants, safety) = ("  # Each order is paid once and delivered", "  safety:");
    assert!(text.contains(manifests), "{text}");
    let (before, rest) = text.split_once(invariants).unwrap();
    let (_, after) = rest.split_once(safety).unwrap();
    let k8s = workspace().join("k8s").display().to_string();
    let fewer = format!("[{k8s}/database, {k8s}/services]");
    let text = format!("{before}{safety}{after}").replace(manifests, &fewer);
    let file = folder.path().join("database-outage.yaml");
    std::fs::write(&file, text).unwrap();

    let mut command = holdfast("database");
    command.args(["run", "--quick", "--json"]).arg(file);
    let finished = finish(command.arg("--out").arg(folder.path().join("reports")));
    let result: Value = serde_json::from_str(&finished.out)
        .unwrap_or_else(|_| panic!("it said nothing: {}", finished.err));
    assert_eq!(result["residue"], serde_json::json!([]), "{result}");
    let verdict = &result["verdict"];
    // A machine so busy that the run says nothing has to say so.
    let valid = result["summary"]["selfCheck"]["valid"] == true;
    let expected = if valid { "passed" } else { "inconclusive" };
    assert_eq!(verdict["outcome"], expected, "{verdict}");
}
