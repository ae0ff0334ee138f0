-- The day, counted from 1970, on which anything was last said to or by a consumer, so that who writes no more ends. No finer: an
-- index entry then moves once a day, not with each message. NULL: nothing was said since this column is there.
ALTER TABLE subjects ADD COLUMN last_day BIGINT;
CREATE INDEX subjects_by_day ON subjects (number, last_day);
CREATE INDEX subjects_undated ON subjects (number, subject_id) WHERE last_day IS NULL;
