//! What the integration tests share: the suite on free ports.
