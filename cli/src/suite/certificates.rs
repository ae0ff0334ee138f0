//! A suite's development authority and the certificates of its services.

use sealpost_runtime::Timestamp;
use sealpost_runtime::identity::Role;

use super::layout::Layout;
use super::roster::Roster;
use crate::pki::{Authority, HostNames, Identity};

/// Days that a development certificate lives.
const DAYS: u32 = 90;
const TRUST_DOMAIN: &str = "sealpost.development";

/// Makes whatever is missing, and a current revocation list.
pub fn ensure(layout: &Layout, roster: &Roster, now: Timestamp) -> anyhow::Result<()> {
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
    for instance in roster.instances() {
        let name = instance.name();
        if let Some(role) = instance.service().role() {
            issue_once(&authority, layout, role, Some(&name), &name, now)?;
        }
        if instance.service().has_public_face() {
            let out = layout.certificates(&name);
            if !out.join("public.pem").exists() {
                authority.issue_public("public", &HostNames::local(), DAYS, &out, now)?;
            }
        }
    }
    for role in [Role::Operator, Role::Auditor] {
        issue_once(&authority, layout, role, None, role.as_str(), now)?;
    }
    Ok(())
}

fn issue_once(
    authority: &Authority,
    layout: &Layout,
    role: Role,
    name: Option<&str>,
    owner: &str,
    now: Timestamp,
) -> anyhow::Result<()> {
    let out = layout.certificates(owner);
    // The certificate is written after its key: where it is, both are.
    let certificate = Identity::in_folder(role, name, &out).certificate;
    if !certificate.exists() {
        authority.issue(role, name, &HostNames::local(), DAYS, &out, now)?;
    }
    Ok(())
}
