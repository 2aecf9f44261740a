-- Why an app asks, in its own words, for the person who decides; and what a person looked at lately is counted.
ALTER TABLE requests ADD COLUMN reason TEXT;
CREATE INDEX requests_by_account ON requests (account_id, created_at);
