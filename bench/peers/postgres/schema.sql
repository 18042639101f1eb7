-- The transfers of YCSB-T as stored functions. Both rows are locked in the order of their ids, so no two transfers wait for
-- each other; what a balance may be is a constraint of the table. A fill factor of 50 leaves room for updates within the page.
-- SPDX-License-Identifier: MIT
CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0)) WITH (fillfactor = 50);
INSERT INTO account SELECT n, :initial FROM generate_series(1, :keys) n;

CREATE FUNCTION transfer(sender int, receiver int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  sent bigint;
  received bigint;
BEGIN
  IF sender < receiver THEN
    UPDATE account SET balance = balance - 1 WHERE id = sender RETURNING balance INTO STRICT sent;
    UPDATE account SET balance = balance + 1 WHERE id = receiver RETURNING balance INTO STRICT received;
  ELSE
    UPDATE account SET balance = balance + 1 WHERE id = receiver RETURNING balance INTO STRICT received;
    UPDATE account SET balance = balance - 1 WHERE id = sender RETURNING balance INTO STRICT sent;
  END IF;
  RETURN sent;
END $$;
VACUUM ANALYZE account;
CHECKPOINT;
