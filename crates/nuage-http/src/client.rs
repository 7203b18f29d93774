//! Whose request it is: the address at the other end of the connection, or the one that a trusted
//! proxy names.
//!
//! Source: RFC 7239 for `Forwarded`; `X-Forwarded-For` as proxies write it, one address a hop. Each
//! proxy adds the hop before it at the end, and what stands before that may be anybody's
//! invention. So hops are read from the right, and the first that is no trusted proxy is the client.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies that are believed.
pub(crate) struct Proxies(Vec<IpNet>);

impl Proxies {
    pub(crate) fn new(trusted: Vec<IpNet>) -> Self {
        Self(trusted)
    }

    /// Whether what comes from there is believed.
    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// The client of a request that came through a trusted proxy: the rightmost hop that is not
    /// one, or the last proxy that says who that is. Where both headers are there, the older one
    /// counts, which nearly all proxies write.
    pub(crate) fn client(&self, proxy: IpAddr, headers: &HeaderMap) -> IpAddr {
        let old = headers.contains_key(X_FORWARDED_FOR);
        let name = if old { X_FORWARDED_FOR } else { FORWARDED };
        let hops = headers.get_all(name).iter().rev().flat_map(|line| {
            // Bytes that are no text are in no address.
            let line = HeaderValue::to_str(line).unwrap_or("?");
            // No address has a comma, and what a quoted one would cut lies left of the client.
            line.rsplit(',').map(move |hop| if old { address(hop) } else { forwarded_for(hop) })
        });
        let mut client = proxy;
        for hop in hops {
            let Some(hop) = hop else { break };
            client = hop;
            if !self.trust(hop) {
                break;
            }
        }
        client
    }
}

/// What one element of `Forwarded` says.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    address(named.next()?.1.trim().trim_matches('"'))
}

/// An address, with or without port. Other names (`unknown`, `_hidden`) are none.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let alone = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = alone.parse().or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// What an address counts as: itself, or its /64 for IPv6, which one person may have whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Network(Ipv6Addr);

impl Network {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)),
        })
    }
}

#[cfg(test)]
mod tests;
