//! The model itself, tried: a trace as it should be has nothing to complain of, and for each rule a trace that breaks it is
//! found out.

use sealpost_connector_sdk::DeliveryStatus::{self, Accepted, Delivered, Failed, Read, Sent};

use super::model::{Broken, Model};
use super::trace::{Answer, Entry, Id};

const HOUR: u64 = 3_600;

fn judge(trace: &[Entry]) -> Result<(), Broken> {
    let mut model = Model::new(HOUR);
    trace.iter().try_for_each(|entry| model.observe(entry))
}

fn id(name: &str) -> Id {
    let mut id = [0; 16];
    id[..name.len()].copy_from_slice(name.as_bytes());
    id
}

fn sends(key: &str, content: &str) -> Entry {
    Entry::Sends {
        key: key.to_owned(),
        id: id(key),
        content: content.to_owned(),
    }
}

fn accepted(key: &str, content: &str, repeated: bool) -> Entry {
    Entry::Accepted {
        key: key.to_owned(),
        id: id(key),
        content: content.to_owned(),
        repeated,
    }
}

fn shown(key: &str, content: &str) -> Entry {
    Entry::Shown {
        id: id(key),
        content: content.to_owned(),
        again: false,
    }
}

fn shown_again(key: &str, content: &str) -> Entry {
    Entry::Shown {
        id: id(key),
        content: content.to_owned(),
        again: true,
    }
}

fn told(key: &str, status: DeliveryStatus) -> Entry {
    Entry::Told {
        id: id(key),
        status,
    }
}

fn asked(key: &str, answer: Answer) -> Entry {
    Entry::Asked {
        id: id(key),
        answer,
    }
}

fn writes(content: &str) -> Entry {
    Entry::Writes {
        content: content.to_owned(),
    }
}

fn heard(content: &str) -> Entry {
    Entry::Heard {
        content: content.to_owned(),
    }
}

/// A message that went all its way.
fn delivered(key: &str, content: &str) -> Vec<Entry> {
    vec![
        sends(key, content),
        accepted(key, content, false),
        told(key, Sent),
        shown(key, content),
        told(key, Delivered),
    ]
}

fn after(mut trace: Vec<Entry>, entries: impl IntoIterator<Item = Entry>) -> Vec<Entry> {
    trace.extend(entries);
    trace
}

#[test]
fn a_conversation_as_it_should_be_breaks_no_rule() {
    let trace = after(
        delivered("a", "hello"),
        [
            Entry::Reads { id: id("a") },
            told("a", Read),
            sends("a", "hello"),
            accepted("a", "hello", true),
            sends("a", "other"),
            Entry::Conflicted {
                key: "a".to_owned(),
                content: "other".to_owned(),
            },
            asked("a", Answer::At(Read)),
            Entry::Crashed,
            Entry::Came,
            shown_again("a", "hello"),
            writes("yes"),
            heard("yes"),
            Entry::Reconnected,
            heard("yes"),
            told("a", Delivered),
            told("a", Read),
            Entry::Left,
            sends("b", "late"),
            accepted("b", "late", false),
            told("b", Sent),
            Entry::Settled,
            Entry::Advanced { seconds: 2 * HOUR },
            asked("b", Answer::Gone),
            Entry::Came,
            Entry::Settled,
            Entry::Erased,
            asked("b", Answer::Gone),
            writes("on a session that is gone"),
            writes("and another"),
            heard("and another"),
            writes("in order again"),
            heard("in order again"),
            heard("on a session that is gone"),
            Entry::Settled,
        ],
    );
    assert_eq!(judge(&trace), Ok(()));
}

#[test]
fn a_message_that_is_not_shown_or_not_heard_is_lost() {
    let unshown = [sends("a", "x"), accepted("a", "x", false), Entry::Settled];
    assert_eq!(judge(&unshown), Err(Broken::Lost("x".to_owned())));
    let unheard = [writes("x"), Entry::Settled];
    assert_eq!(judge(&unheard), Err(Broken::Lost("x".to_owned())));
    // An erasure excuses what is written on the dead session, and nothing after there is another.
    let excused = [
        writes("in the device"),
        Entry::Erased,
        writes("y"),
        Entry::Settled,
    ];
    assert_eq!(judge(&excused), Ok(()));
    let trace = after(vec![Entry::Erased], delivered("a", "anew"));
    let trace = after(trace, [writes("x"), Entry::Settled]);
    assert_eq!(judge(&trace), Err(Broken::Lost("x".to_owned())));
    // What the device had taken in already says nothing of a new session.
    let taken = [
        sends("a", "old"),
        accepted("a", "old", false),
        told("a", Sent),
        Entry::Left,
        Entry::Settled,
        Entry::Erased,
        Entry::Came,
        shown("a", "old"),
        writes("x"),
        Entry::Settled,
    ];
    assert_eq!(judge(&taken), Ok(()));
}

#[test]
fn a_message_that_is_shown_or_heard_twice_is_doubled() {
    let doubled = Err(Broken::Doubled("x".to_owned()));
    let trace = after(delivered("a", "x"), [shown("a", "x")]);
    assert_eq!(judge(&trace), doubled);
    // That a device says "again" is no excuse where none crashed; nor is a crash where it does not say so.
    let trace = after(delivered("a", "x"), [shown_again("a", "x")]);
    assert_eq!(judge(&trace), doubled);
    let crash = [Entry::Crashed, Entry::Came, shown("a", "x")];
    assert_eq!(judge(&after(delivered("a", "x"), crash)), doubled);
    assert_eq!(judge(&[writes("x"), heard("x"), heard("x")]), doubled);
}

#[test]
fn messages_out_of_their_order_are_found_out() {
    let disordered = Err(Broken::Disordered("x".to_owned()));
    let trace = [
        sends("a", "x"),
        sends("b", "y"),
        shown("b", "y"),
        shown("a", "x"),
    ];
    assert_eq!(judge(&trace), disordered);
    let trace = [writes("x"), writes("y"), heard("y"), heard("x")];
    assert_eq!(judge(&trace), disordered);
    // An erasure excuses what is written on the dead session, and nothing after there is another.
    let trace = after(vec![Entry::Erased], delivered("a", "anew"));
    let trace = after(trace, [writes("x"), writes("y"), heard("y"), heard("x")]);
    assert_eq!(judge(&trace), disordered);
}

#[test]
fn what_nobody_sent_or_sent_otherwise_is_strange() {
    let strange = Err(Broken::Strange("x".to_owned()));
    assert_eq!(judge(&[shown("a", "x")]), strange);
    assert_eq!(judge(&[sends("a", "y"), shown("a", "x")]), strange);
    assert_eq!(judge(&[heard("x")]), strange);
}

#[test]
fn a_key_stands_for_one_message_and_one_content() {
    let first = delivered("a", "x");
    let trace = after(first.clone(), [sends("a", "x"), accepted("a", "x", false)]);
    assert_eq!(judge(&trace), Err(Broken::Unrecognised("x".to_owned())));
    let trace = after(first.clone(), [sends("a", "y"), accepted("a", "y", true)]);
    assert_eq!(judge(&trace), Err(Broken::Overwritten("y".to_owned())));
    let conflict = Entry::Conflicted {
        key: "a".to_owned(),
        content: "x".to_owned(),
    };
    let trace = after(first, [sends("a", "x"), conflict]);
    assert_eq!(judge(&trace), Err(Broken::Refused("x".to_owned())));
    let refused = Entry::Refused {
        key: "a".to_owned(),
        why: "no".to_owned(),
    };
    assert!(matches!(
        judge(&[sends("a", "x"), refused]),
        Err(Broken::Refused(_))
    ));
}

#[test]
fn a_status_only_grows_and_is_not_forgotten() {
    let trace = after(delivered("a", "x"), [told("a", Sent)]);
    assert_eq!(judge(&trace), Err(Broken::Backward("x".to_owned(), Sent)));
    let trace = after(delivered("a", "x"), [told("a", Delivered)]);
    assert_eq!(
        judge(&trace),
        Err(Broken::Backward("x".to_owned(), Delivered))
    );
    let overtaken = [
        sends("a", "x"),
        accepted("a", "x", false),
        Entry::Asks { id: id("a") },
        told("a", Sent),
        asked("a", Answer::At(Accepted)),
    ];
    assert_eq!(judge(&overtaken), Ok(()));
    let trace = after(delivered("a", "x"), [asked("a", Answer::At(Accepted))]);
    assert_eq!(
        judge(&trace),
        Err(Broken::Backward("x".to_owned(), Accepted))
    );
    let trace = after(delivered("a", "x"), [asked("a", Answer::Gone)]);
    assert_eq!(judge(&trace), Err(Broken::Forgotten("x".to_owned())));
    let trace = after(
        delivered("a", "x"),
        [Entry::Reads { id: id("a") }, Entry::Settled],
    );
    assert_eq!(judge(&trace), Err(Broken::Untold("x".to_owned(), Read)));
    let unsent = [
        sends("a", "x"),
        accepted("a", "x", false),
        Entry::Left,
        Entry::Settled,
    ];
    assert_eq!(judge(&unsent), Err(Broken::Untold("x".to_owned(), Sent)));
}

#[test]
fn nothing_outlives_its_time_or_the_erasure() {
    for end in [Entry::Advanced { seconds: HOUR }, Entry::Erased] {
        let waiting = vec![sends("a", "x"), accepted("a", "x", false), end];
        let outlived = Err(Broken::Outlived("x".to_owned()));
        assert_eq!(judge(&after(waiting.clone(), [shown("a", "x")])), outlived);
        let answer = asked("a", Answer::At(Accepted));
        assert_eq!(judge(&after(waiting.clone(), [answer])), outlived);
        assert!(judge(&after(waiting, [told("a", Sent)])).is_err());
    }
    let trace = [
        writes("x"),
        heard("x"),
        Entry::Settled,
        Entry::Erased,
        Entry::Reconnected,
        heard("x"),
    ];
    assert_eq!(judge(&trace), Err(Broken::Outlived("x".to_owned())));
    // A device that was not there to learn that it was heard says it again, once.
    let unknown = [
        writes("x"),
        Entry::Crashed,
        heard("x"),
        Entry::Settled,
        Entry::Erased,
        Entry::Came,
        heard("x"),
    ];
    assert_eq!(judge(&unknown), Ok(()));
    let twice = after(unknown.to_vec(), [heard("x")]);
    assert_eq!(judge(&twice), Err(Broken::Doubled("x".to_owned())));
    let failed = [
        sends("a", "x"),
        accepted("a", "x", false),
        told("a", Failed),
    ];
    assert!(judge(&failed).is_err());
}

#[test]
fn nobody_sees_what_is_never_to_be_seen() {
    let surprise = Entry::Surprised {
        by: "a changed identity key".to_owned(),
    };
    assert!(matches!(judge(&[surprise]), Err(Broken::Impossible(_))));
    let offline = [sends("a", "x"), Entry::Left, shown("a", "x")];
    assert!(matches!(judge(&offline), Err(Broken::Impossible(_))));
}
