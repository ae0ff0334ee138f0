//! A conversation's rows: opened, and sealed again when something changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sealpost_envelope::Entropy;

use super::{Conversation, SessionLoaded};
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
            let known = SessionLoaded {
                version: row.version,
                length: row.sealed.len(),
            };
            loaded.insert(row.device, known);
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

    /// The rows to write, when anything changed, and what new sessions used up. From here on it is as if they were written: whoever
    /// does not write them drops the conversation.
    ///
    /// # Errors
    /// [`NumberCorrupt`], when there is no randomness.
    pub(crate) fn seal(
        &mut self,
        entropy: &mut dyn Entropy,
    ) -> Result<Option<(ConversationWrite, Vec<Spent>)>, NumberCorrupt> {
        if !std::mem::take(&mut self.changed) {
            return Ok(None);
        }
        let held = &self.sessions;
        self.subject
            .seals
            .retain(|device, _| held.contains_key(device));
        let mut sessions = Vec::new();
        for device in std::mem::take(&mut self.moved) {
            let Some(session) = self.sessions.get(&device) else {
                continue;
            };
            let before = self.loaded.get(&device).map_or(0, |row| row.version);
            let version = before + 1;
            let row = session_row(self.id, device);
            let sealed =
                self.number
                    .seal_row(SESSIONS, &row, version, &session.serialize()?, entropy)?;
            self.subject.seals.insert(device, Seal::of(&sealed));
            let length = sealed.len();
            self.loaded
                .insert(device, SessionLoaded { version, length });
            sessions.push(SessionRow {
                device,
                version,
                sealed,
            });
        }
        let gone = |device: &u8| !self.sessions.contains_key(device);
        let removed: Vec<u8> = self.loaded.keys().copied().filter(gone).collect();
        for device in &removed {
            self.loaded.remove(device);
        }
        self.version += 1;
        let sealed = self.number.seal_row(
            SUBJECTS,
            &self.id.0,
            self.version,
            &self.subject.encode(),
            entropy,
        )?;
        let write = ConversationWrite {
            number: self.number.id.as_str().to_owned(),
            subject: SubjectRow {
                id: self.id,
                tag: self.tag,
                version: self.version,
                sealed,
            },
            sessions,
            removed,
        };
        Ok(Some((write, std::mem::take(&mut self.spent))))
    }
}

fn session_row(id: SubjectId, device: u8) -> Vec<u8> {
    let mut row = id.0.to_vec();
    row.push(device);
    row
}
