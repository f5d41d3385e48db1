-- The checksums of stored inputs show whether they were altered; rows on legal hold are not deleted.
CREATE OR REPLACE TRIGGER held AFTER DELETE ON ${inputs}
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION ${held}();
