//! A network, as policies name it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network of either family, its host bits zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// A text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a network: write an address with the length of its prefix, such as 10.0.0.0/8 or fd00::/8"
)]
pub struct CidrError(String);

impl Cidr {
    /// Whether it is a network of IPv4.
    #[must_use]
    pub fn is_v4(self) -> bool {
        self.network.is_ipv4()
    }

    /// The network of this one address.
    #[must_use]
    pub fn of_host(address: IpAddr) -> Self {
        // An IPv4 address in the clothes of IPv6 is met as what it is.
        let network = address.to_canonical();
        Self { network, prefix: if network.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether every address of `other` is in it.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        let same = match (self.network, other.network) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        };
        same && self.prefix <= other.prefix
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        let network = match address.parse().map_err(|_| wrong())? {
            IpAddr::V4(address) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
            _ => return Err(wrong()),
        };
        Ok(Self { network, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_named_without_the_bits_of_its_hosts() {
        for (text, network) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.89.0.1/32", "10.89.0.1/32"),
            ("1.2.3.4/0", "0.0.0.0/0"),
            ("fd00:10::1/64", "fd00:10::/64"),
            ("::1/0", "::/0"),
        ] {
            assert_eq!(text.parse::<Cidr>().map(|cidr| cidr.to_string()), Ok(network.to_owned()));
        }
    }

    #[test]
    fn a_network_contains_itself_and_what_is_inside_it() {
        let contains = |outer: &str, inner: &str| {
            let network = |text: &str| text.parse::<Cidr>().expect(text);
            network(outer).contains(network(inner))
        };
        assert!(contains("10.0.0.0/8", "10.0.0.0/8"));
        assert!(contains("10.0.0.0/8", "10.89.0.1/32"));
        assert!(contains("0.0.0.0/0", "192.0.2.0/24"));
        assert!(contains("fd00::/8", "fd00:10::/64"));
        assert!(!contains("10.89.0.0/16", "10.0.0.0/8"));
        assert!(!contains("10.0.0.0/8", "11.0.0.0/8"));
        assert!(!contains("0.0.0.0/0", "::/0"));
    }

    #[test]
    fn an_address_is_a_network_of_one() {
        for (address, network) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("2001:db8::1", "2001:db8::1/128"),
        ] {
            assert_eq!(Cidr::of_host(address.parse().expect("an address")).to_string(), network);
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.1", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "10.0.0.0/-1"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
