-- Who used a key last: its User-Agent.
ALTER TABLE api_keys ADD COLUMN last_user_agent text;
