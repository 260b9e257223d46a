//! Which addresses a webhook may go to: those of the public internet, unless the operator allows others.
//!
//! Names are resolved here, for each connection, and the connection goes to an address that was looked at. A name
//! that changes its address a moment later does not help an attacker.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::retry::Forbidden;

/// How a name becomes addresses; tests put another one in.
pub type Lookup = dyn Fn(String) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<Vec<SocketAddr>>> + Send>>
    + Send
    + Sync;

/// Resolves names for a client, and refuses those that lead to a private address.
pub struct Resolver {
    lookup: Arc<Lookup>,
}

impl Resolver {
    pub fn of_the_system() -> Self {
        Self::new(Arc::new(|name| {
            Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
        }))
    }

    pub fn new(lookup: Arc<Lookup>) -> Self {
        Self { lookup }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let found = (self.lookup)(name.clone());
        Box::pin(async move {
            let found = found.await?;
            // One private address among public ones is no accident either.
            if let Some(address) = found.iter().find(|address| !is_public(address.ip())) {
                return Err(Forbidden(format!(
                    "{name} has the address {}, which is not public; --webhook-allow-private allows it",
                    address.ip()
                ))
                .into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The scheme, and an address that is in the URL itself: the client resolves no name for it.
pub fn check_url(url: &Url) -> Result<(), String> {
    if url.scheme() != "https" {
        return Err(
            "it must begin with https://; --webhook-allow-private allows http://".to_owned(),
        );
    }
    let address: IpAddr = match url.host() {
        Some(Host::Ipv4(address)) => address.into(),
        Some(Host::Ipv6(address)) => address.into(),
        Some(Host::Domain(_)) => return Ok(()),
        None => return Err("it has no host".to_owned()),
    };
    if is_public(address) {
        Ok(())
    } else {
        Err(format!(
            "the address {address} is not public; --webhook-allow-private allows it"
        ))
    }
}

/// Whether an address belongs to the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        // This network, multicast, reserved and broadcast.
        || a == 0
        || a >= 224
        // Behind the address translation of a provider; a metadata service of a cloud is there, too.
        || (a == 100 && (64..128).contains(&b))
        // Protocol assignments, and networks for measuring.
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
        // The host of a virtual machine in a cloud.
        || (a == 168 && b == 63 && c == 129 && d == 16))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    // Mapped, compatible, translated (two prefixes) and 6to4: an address of version 4 in another form.
    let inner = match parts {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some((high, low)),
        _ => None,
    };
    if let Some((high, low)) = inner {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Only 2000::/3 is given out; of that, Teredo, benchmarking, ORCHID and documentation are none.
    parts[0] & 0xe000 == 0x2000
        && !(parts[0] == 0x2001 && (parts[1] < 0x0200 || parts[1] == 0x0db8))
        && !(parts[0] == 0x3fff && parts[1] < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn private_addresses_are_known_in_each_form() {
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "fec0::1",
            "3fff::1",
            "64:ff9b:1::1",
        ] {
            assert!(!is_public(text.parse().expect("an address")), "{text}");
        }
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "192.169.0.1",
            "169.253.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2001:4860::8888",
        ] {
            assert!(is_public(text.parse().expect("an address")), "{text}");
        }
    }

    #[test]
    fn an_url_is_https_and_names_no_private_address() {
        let check = |text: &str| check_url(&Url::parse(text).expect("an URL"));
        assert!(check("https://example.com/hook").is_ok());
        assert!(check("https://8.8.8.8/").is_ok());
        for text in [
            "http://example.com/",
            "https://127.0.0.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }

    /// A name whose address is public the first time, and this machine later.
    #[tokio::test]
    async fn a_name_that_changes_its_address_is_refused() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let resolver = Resolver::new(Arc::new(move |_| {
            let first = count.fetch_add(1, Ordering::Relaxed) == 0;
            let address = if first { [8, 8, 8, 8] } else { [127, 0, 0, 1] };
            Box::pin(async move { Ok(vec![SocketAddr::from((address, 0))]) })
        }));
        // The first answer is looked at and would be connected to; a client that asks again is told the second.
        let name: Name = "rebinding.example".parse().expect("a name");
        assert!(resolver.resolve(name).await.is_ok());
        let client = reqwest::Client::builder()
            .dns_resolver(Arc::new(resolver))
            .no_proxy()
            // No process answers a connection that ought not to come.
            .timeout(std::time::Duration::from_secs(2))
            .build()
            .expect("a client");
        let request = client.post(format!("http://rebinding.example:{port}/"));
        let answer =
            super::super::retry::attempt(request, super::super::retry::Temporary::Gateway).await;
        let super::super::retry::Answer::Refused(why) = answer else {
            panic!("not refused: {answer:?}");
        };
        assert!(why.contains("127.0.0.1"), "{why}");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let accepted =
            tokio::time::timeout(std::time::Duration::from_millis(200), listener.accept());
        assert!(accepted.await.is_err(), "a connection came");
    }

    /// The connection goes to the address that was looked at, and the name is resolved once.
    #[tokio::test]
    async fn each_connection_goes_to_the_address_that_was_looked_at() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let resolver = Resolver::new(Arc::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Box::pin(async {
                Ok(vec![
                    SocketAddr::from(([10, 0, 0, 1], 0)),
                    SocketAddr::from(([8, 8, 8, 8], 0)),
                ])
            })
        }));
        let name: Name = "mixed.example".parse().expect("a name");
        let refused = resolver.resolve(name).await.err().expect("refused");
        assert!(refused.downcast_ref::<Forbidden>().is_some());
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}
