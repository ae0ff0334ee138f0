//! A conversation's rows: opened, and sealed again when something changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sealpost_envelope::Entropy;

use super::Conversation;
use crate::{
    datastore::{ConversationRows, ConversationWrite, SessionRow, SubjectRow},
    number::{Number, NumberCorrupt},
    prekey_shelf::Spent,
    signal::Session,
    subject::{Seal, Subject, SubjectId},
};

const SUBJECTS: &str = "subjects";
const SESSIONS: &str = "sessions";

impl Conversation {
    /// Opens a conversation's rows.
    ///
    /// # Errors
    /// [`NumberCorrupt`] when a row was moved, put back to an earlier one, or damaged. A session's row that is missing is a
    /// session that is over: sending begins a new one.
    pub(crate) fn open(
        number: Arc<Number>,
        rows: &ConversationRows,
    ) -> Result<Self, NumberCorrupt> {
        let SubjectRow {
            id,
            tag,
            version,
            sealed,
        } = &rows.subject;
        let subject = number.open_row(SUBJECTS, &id.0, *version, sealed)?;
        let subject = Subject::decode(&subject).ok_or(NumberCorrupt)?;
        if subject.tag()? != *tag {
            return Err(NumberCorrupt);
        }
        let mut sessions = BTreeMap::new();
        let mut loaded = BTreeMap::new();
        for row in &rows.sessions {
            if subject.seals.get(&row.device) != Some(&Seal::of(&row.sealed)) {
                return Err(NumberCorrupt);
            }
            let record = number.open_row(
                SESSIONS,
                &session_row(*id, row.device),
                row.version,
                &row.sealed,
            )?;
            sessions.insert(row.device, Session::deserialize(&record)?);
            loaded.insert(row.device, row.version);
        }
        Ok(Self {
            number,
            id: *id,
            tag: *tag,
            version: *version,
            subject,
            loaded,
            sessions,
            moved: BTreeSet::new(),
            changed: false,
            spent: Vec::new(),
        })
    }

    /// The rows to write, when anything changed, and what new sessions used up.
    ///
    /// # Errors
    /// [`NumberCorrupt`], when there is no randomness.
    pub(crate) fn seal(
        self,
        entropy: &mut dyn Entropy,
    ) -> Result<Option<(ConversationWrite, Vec<Spent>)>, NumberCorrupt> {
        if !self.changed {
            return Ok(None);
        }
        let mut subject = self.subject;
        subject
            .seals
            .retain(|device, _| self.sessions.contains_key(device));
        let mut sessions = Vec::new();
        for device in &self.moved {
            let Some(session) = self.sessions.get(device) else {
                continue;
            };
            let version = self.loaded.get(device).map_or(1, |version| version + 1);
            let row = session_row(self.id, *device);
            let sealed =
                self.number
                    .seal_row(SESSIONS, &row, version, &session.serialize()?, entropy)?;
            subject.seals.insert(*device, Seal::of(&sealed));
            sessions.push(SessionRow {
                device: *device,
                version,
                sealed,
            });
        }
        let removed = self
            .loaded
            .keys()
            .filter(|device| !self.sessions.contains_key(device))
            .copied()
            .collect();
        let version = self.version + 1;
        let sealed =
            self.number
                .seal_row(SUBJECTS, &self.id.0, version, &subject.encode(), entropy)?;
        let write = ConversationWrite {
            number: self.number.id.as_str().to_owned(),
            subject: SubjectRow {
                id: self.id,
                tag: self.tag,
                version,
                sealed,
            },
            sessions,
            removed,
        };
        Ok(Some((write, self.spent)))
    }
}

fn session_row(id: SubjectId, device: u8) -> Vec<u8> {
    let mut row = id.0.to_vec();
    row.push(device);
    row
}
