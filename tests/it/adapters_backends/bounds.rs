//! What is taken from a vendor before anything is known about it.

use axum::Router;
use axum::body::Body;
use futures_util::stream;

use super::*;

const MEBIBYTE: usize = 1 << 20;

#[tokio::test]
async fn an_answer_without_end_and_without_a_length_is_not_read_to_its_end() {
    let endless = async || {
        let chunk = vec![b' '; MEBIBYTE];
        Body::from_stream(stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone())))
    };
    let routes = Router::new().fallback(endless);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let dcr = Dcr::new(&DcrConfig {
        base_url: format!("http://{address}"),
        token: TOKEN.into(),
    })
    .expect("a good address");
    let seen = dcr.observe(&job("dcr", &[("tenant", "comcast")]), true).await;
    let Err(CallError::Permanent { why, .. }) = seen else {
        panic!("{seen:?}");
    };
    assert!(why.contains("too large"), "{why}");
}
