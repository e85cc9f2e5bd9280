"""Commands that read records: reports, figures, comparisons, submissions, audits."""
