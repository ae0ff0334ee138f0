-- Numbers and businesses can be removed, and tokens that work no more go with time: each found by an index.
CREATE INDEX token_numbers_by_number ON token_numbers (phone_number_id);
CREATE INDEX tokens_of_business ON tokens (business_id);
CREATE INDEX tokens_by_end ON tokens (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX tokens_by_revocation ON tokens (revoked_at) WHERE revoked_at IS NOT NULL;
