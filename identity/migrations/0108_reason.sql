-- Why an app asks, in its own words, for the person who decides.
ALTER TABLE requests ADD COLUMN reason TEXT;
