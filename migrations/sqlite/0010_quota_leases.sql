-- One process has the file and keeps what was taken of rates in memory: there is nothing to share.
SELECT 1;
