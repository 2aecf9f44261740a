//! `x5c` (RFC 7515 §4.1.6): a certificate that roots of the policy vouch for, for the issuer it names. Revoked certificates are not looked up, and key
//! usage is not looked at (webpki does neither): roots are named for each issuer, so their owner is who to ask.

use crate::key::Key;
use baton_protocol::b64;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::time::Duration;
use url::Url;
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage, RequiredEkuNotFoundContext, anchor_from_trusted_cert,
};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, SubjectKeyIdentifier};

/// Most certificates of a chain.
const MOST: usize = 5;
/// What a certificate may be for, if it says so at all: documents (RFC 9336), or mobile documents (ISO 18013-5 B.1.4). One that is for a web server alone
/// signs no credential.
const DOCUMENTS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 36];
const MOBILE_DOCUMENTS: &[u8] = &[0x28, 0x81, 0x8c, 0x5d, 5, 1, 2];

struct Signs;

impl ExtendedKeyUsageValidator for Signs {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let wanted = [DOCUMENTS, MOBILE_DOCUMENTS].map(KeyPurposeId::new);
        let mut present = Vec::new();
        for purpose in purposes {
            let purpose = purpose?;
            if wanted.contains(&purpose) {
                return Ok(());
            }
            present.push(purpose.to_decoded_oid());
        }
        if present.is_empty() {
            return Ok(());
        }
        Err(webpki::Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required: KeyUsage::required(DOCUMENTS), present }))
    }
}

/// The roots in a PEM text: at least one, and each of them can be one.
pub fn roots(text: &str) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let bad = "roots: PEM certificates, at least one";
    let all: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().map_err(|_| bad)?;
    if !all.is_empty() && all.iter().all(|der| anchor_from_trusted_cert(der).is_ok()) { Ok(all) } else { Err(bad) }
}

/// What a chain vouches for.
pub struct Certified {
    /// The first certificate's key.
    pub key: Key,
    /// Under whom the certificates of the path that holds are: key identifiers (RFC 5280 §4.2.1.1) in base64url.
    pub authorities: Vec<String>,
}

/// The first certificate's word, where the chain holds now and that certificate names the issuer: by its URL, or, where that has no path, by its host.
pub fn key(chain: &[Vec<u8>], pem: &str, issuer: &str, now: i64) -> Result<Certified, &'static str> {
    let bad = "the certificate is not one the policy trusts";
    if chain.is_empty() || chain.len() > MOST {
        return Err(bad);
    }
    let roots = roots(pem)?;
    let anchors: Vec<TrustAnchor<'_>> = roots.iter().map(anchor_from_trusted_cert).collect::<Result<_, _>>().map_err(|_| bad)?;
    let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let leaf = EndEntityCert::try_from(&chain[0]).map_err(|_| bad)?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now.try_into().map_err(|_| bad)?));
    let path = leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &chain[1..], at, Signs, None, None).map_err(|_| bad)?;
    // The leaf, those between, and the root that vouches for them.
    let root = anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor())).map(|at| roots[at].clone());
    let line: Vec<_> = std::iter::once(chain[0].clone()).chain(path.intermediate_certificates().map(webpki::Cert::der)).chain(root).collect();
    let authorities = line.windows(2).filter_map(|pair| authority(&pair[0], &pair[1])).collect();
    let url = Url::parse(issuer).map_err(|_| bad)?;
    // A host speaks for itself, and not for each of those who are issuers beneath it.
    let whole = url.port().is_none() && url.path() == "/";
    let by_host = leaf.valid_dns_names().any(|name| whole && url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(name)));
    if !by_host && !leaf.valid_uri_names().any(|uri| uri == issuer) {
        return Err("the certificate is somebody else's");
    }
    let key = Key::from_spki(&leaf.subject_public_key_info()).ok_or("the certificate has a key of another kind")?;
    Ok(Certified { key, authorities })
}

/// What a certificate says of who signed it, where they say the same of themselves: its own word alone could be anything.
fn authority(der: &[u8], by: &[u8]) -> Option<String> {
    let (certificate, by) = (Certificate::from_der(der).ok()?, Certificate::from_der(by).ok()?);
    let (_, said) = certificate.tbs_certificate().get_extension::<AuthorityKeyIdentifier>().ok()??;
    let (_, own) = by.tbs_certificate().get_extension::<SubjectKeyIdentifier>().ok()??;
    let said = said.key_identifier?;
    (said == own.0).then(|| b64::encode(said.as_bytes()))
}
