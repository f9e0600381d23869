//! A workload that somebody applied by hand is reached through the gateway of the bench by its host name.

use std::time::Duration;

use e2e::addresses::NODE;
use e2e::{kubectl, visitor};

const WEB: &str = r#"
apiVersion: v1
kind: Namespace
metadata: { name: plain }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: plain }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
        - name: web
          image: berthdemo/hello:1.0
          env: [{ name: GREETING, value: applied by hand }]
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: plain }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: web, namespace: plain }
spec:
  parentRefs: [{ name: berth, namespace: berth-system }]
  hostnames: [plain.example.test]
  rules: [{ backendRefs: [{ name: web, port: 80 }] }]
"#;

#[tokio::test]
#[ignore = "runs on the bench: cargo e2e test gateway"]
async fn a_plainly_applied_pod_answers_by_its_host_name_and_nothing_answers_for_others() {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    kubectl::apply(WEB).await.unwrap();
    let page = visitor::page(NODE, "plain.example.test", "/hello", Duration::from_secs(60)).await.unwrap();
    assert!(page.contains("GREETING: applied by hand") && page.contains("path: /hello"), "{page}");

    let stranger = visitor::get(NODE, "nobody.example.test", "/").await.unwrap();
    assert_eq!(stranger.status, 404);

    let log = kubectl::run(&["logs", "--namespace", "plain", "deployment/web"]).await.unwrap();
    assert!(log.contains("GET /hello 200 host=plain.example.test"), "{log}");
    kubectl::run(&["delete", "namespace", "plain", "--wait=false"]).await.unwrap();
}
