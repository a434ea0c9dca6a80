//! Makes certificates: of an archive's own authority, and of its receiver. Which one when: [`super::authority`].

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints,
};
use time::{Duration, OffsetDateTime};

use crate::names::ArchiveName;

const AUTHORITY_DAYS: i64 = 10 * 365;
const CERTIFICATE_DAYS: i64 = 365;
/// Senders' clocks may be behind.
const BACKDATED_DAYS: i64 = 1;

/// A certificate and its private key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) crt: String,
    pub(super) key: String,
}

pub(super) fn new_authority(archive: &ArchiveName, now: OffsetDateTime) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = authority(archive);
    params.not_before = now - Duration::days(BACKDATED_DAYS);
    params.not_after = now + Duration::days(AUTHORITY_DAYS);
    let certificate = params.self_signed(&key)?;
    Ok(Pair { crt: certificate.pem(), key: key.serialize_pem() })
}

/// A new certificate of the receiver, by the authority with this private key.
pub(super) fn issue(archive: &ArchiveName, ca_key: &str, now: OffsetDateTime) -> Result<Pair, rcgen::Error> {
    issue_for(hosts(archive).to_vec(), archive, ca_key, now)
}

fn issue_for(
    hosts: Vec<String>,
    archive: &ArchiveName,
    ca_key: &str,
    now: OffsetDateTime,
) -> Result<Pair, rcgen::Error> {
    let issuer = Issuer::new(authority(archive), KeyPair::from_pem(ca_key)?);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(hosts)?;
    // Common names have at most 64 characters; the alternative names are what counts.
    params.distinguished_name.push(DnType::CommonName, "promarchive receiver");
    params.not_before = now - Duration::days(BACKDATED_DAYS);
    params.not_after = now + Duration::days(CERTIFICATE_DAYS);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Pair { crt: certificate.pem(), key: key.serialize_pem() })
}

/// Names by which the receiver is reached.
fn hosts(archive: &ArchiveName) -> [String; 3] {
    let host = archive.host();
    [host.clone(), format!("{host}.cluster.local"), archive.receiver()]
}

fn authority(archive: &ArchiveName) -> CertificateParams {
    let mut params = CertificateParams::default();
    // Always the same name: certificates of the authority are issued under it without reading its own certificate back.
    let organisation: String = format!("promarchive {archive}").chars().take(64).collect();
    params.distinguished_name.push(DnType::OrganizationName, organisation);
    params.distinguished_name.push(DnType::CommonName, "promarchive authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Whoever has its key can be this receiver, and nobody else.
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: hosts(archive).map(GeneralSubtree::DnsName).to_vec(),
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    });
    params
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    /// Whether who trusts `bundle` takes a server with the certificate `crt` for `host`.
    pub(in crate::archive::credentials) fn is_trusted(
        bundle: &str,
        crt: &str,
        host: &str,
        now: OffsetDateTime,
    ) -> bool {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let verifier = WebPkiServerVerifier::builder(Arc::new(roots)).build().unwrap();
        let seconds = u64::try_from(now.unix_timestamp()).unwrap();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let crt = CertificateDer::from_pem_slice(crt.as_bytes()).unwrap();
        let host = ServerName::try_from(host.to_owned()).unwrap();
        verifier.verify_server_cert(&crt, &[], &host, &[], time).is_ok()
    }

    #[test]
    fn an_authority_vouches_for_its_own_receiver_alone() {
        let archive = ArchiveName::new("team", "lab");
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let authority = new_authority(&archive, now).unwrap();
        let good = issue(&archive, &authority.key, now).unwrap();
        for host in ["lab-receiver.team.svc", "lab-receiver.team.svc.cluster.local", "lab-receiver"] {
            assert!(is_trusted(&authority.crt, &good.crt, host, now), "{host}");
        }
        assert!(!is_trusted(&authority.crt, &good.crt, "lab-receiver.other.svc", now));
        assert!(!is_trusted(&new_authority(&archive, now).unwrap().crt, &good.crt, "lab-receiver.team.svc", now));
        // With the stolen key of the authority.
        for host in ["example.org", "kubernetes.default.svc", "lab-receiver.other.svc", "192.0.2.1", "2001:db8::1"] {
            let forged = issue_for(vec![host.to_owned()], &archive, &authority.key, now).unwrap();
            assert!(!is_trusted(&authority.crt, &forged.crt, host, now), "{host}");
        }
    }
}
