//! A suite's development authority and the certificates of its services.

use sealpost_runtime::Timestamp;
use sealpost_runtime::identity::Role;

use super::layout::Layout;
use super::service::Service;
use crate::pki::{Authority, HostNames};

/// Days that a development certificate lives.
const DAYS: u32 = 90;
const TRUST_DOMAIN: &str = "sealpost.development";

/// Makes whatever is missing, and a current revocation list.
pub fn ensure(layout: &Layout, now: Timestamp) -> anyhow::Result<()> {
    let folder = layout.pki();
    let authority = if folder.join("crl.pem").exists() {
        let authority = Authority::open(&folder)?;
        authority.renew_crl(now)?;
        authority
    } else {
        // An authority without its list is one that a crash left half made; nothing can trust it yet.
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        Authority::create(&folder, &TRUST_DOMAIN.parse()?, now)?
    };
    for service in Service::ALL {
        if let Some(role) = service.role() {
            issue_once(&authority, layout, role, service.name(), now)?;
        }
        if service.has_public_face() {
            let out = layout.certificates(service.name());
            if !out.join("public.pem").exists() {
                authority.issue_public("public", &HostNames::local(), DAYS, &out, now)?;
            }
        }
    }
    for role in [Role::Operator, Role::Auditor] {
        issue_once(&authority, layout, role, role.as_str(), now)?;
    }
    Ok(())
}

fn issue_once(
    authority: &Authority,
    layout: &Layout,
    role: Role,
    owner: &str,
    now: Timestamp,
) -> anyhow::Result<()> {
    let out = layout.certificates(owner);
    // The certificate is written after its key: where it is, both are.
    if !out.join(format!("{role}.pem")).exists() {
        authority.issue(role, None, &HostNames::local(), DAYS, &out, now)?;
    }
    Ok(())
}
