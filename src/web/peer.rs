//! Who sends a request, as far as the connection and configured proxies tell.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The sender's address. `None` if it is not configured which proxies stand in front: then the address that connects
/// may be a proxy's, which speaks for everybody.
///
/// `X-Forwarded-For` is read from the right: each proxy appends who connected to it, so the entries of trusted proxies
/// are right and everything left of the first other address is only claimed. An entry that is no address ends the
/// reading at the proxy that wrote it.
pub fn sender(connected: IpAddr, headers: &HeaderMap, trusted: Option<&[IpNet]>) -> Option<IpAddr> {
    let trusted = trusted?;
    let is_proxy = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let mut sender = connected.to_canonical();
    let values: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
    let entries = values.iter().rev().flat_map(|value| {
        let text = value.to_str().unwrap_or_default();
        text.rsplit(',').map(address)
    });
    for entry in entries {
        match entry {
            Some(entry) if is_proxy(sender) => sender = entry,
            _ => break,
        }
    }
    Some(sender)
}

/// One entry; some proxies add the port.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let parsed = bare.unwrap_or(entry).parse::<IpAddr>().ok();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    parsed.or_else(with_port).map(|address| address.to_canonical())
}
