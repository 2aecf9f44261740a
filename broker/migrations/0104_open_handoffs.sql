-- What may have lapsed is looked for among what is open.
CREATE INDEX handoffs_open ON handoffs (created_at) WHERE state IN ('requested', 'offered', 'accepted');
