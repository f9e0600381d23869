//! The demo on a cluster and a chain that were there before, of which it may keep nothing.

use std::path::Path;

use e2e::access::Access;
use e2e::kubectl;
use e2e::lent::Lent;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test lent"]
async fn the_demo_is_told_on_a_lent_cluster_and_leaves_it_as_it_was() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let namespaces = ["get", "namespaces", "--output", "name"];
    kubectl::run(&["delete", "namespaces", "--selector", "berth.dev/lease", "--wait"]).await.unwrap();
    let before = kubectl::run(&namespaces).await.unwrap();
    let Access { kubeconfig, rpc, .. } = Access::here().unwrap();

    let lent = Lent::describe(&kubeconfig, &rpc).await.unwrap();
    let told = lent.command(Path::new(env!("CARGO_BIN_EXE_e2e"))).unwrap().arg("tell").status().unwrap();
    lent.give_back("demo").unwrap();

    assert!(told.success());
    assert_eq!(kubectl::run(&namespaces).await.unwrap(), before);
}
