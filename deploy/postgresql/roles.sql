-- One database and two roles for each service: psql -f roles.sql as a superuser, or as a role with CREATEDB and CREATEROLE.
-- Then give each role its password with psql's \password, which sends the server a verifier only.
-- A store for each region gets a database of its own in the same way (sealpost_store_eu, sealpost_store_na).

\set ON_ERROR_STOP on

-- The owner makes and changes tables (`sealpost-NAME migrate`); the other one is the service's: it reads and writes rows.
CREATE ROLE sealpost_directory_owner LOGIN;
CREATE ROLE sealpost_directory LOGIN;
CREATE ROLE sealpost_key_vault_owner LOGIN;
CREATE ROLE sealpost_key_vault LOGIN;
CREATE ROLE sealpost_store_owner LOGIN;
CREATE ROLE sealpost_store LOGIN;
CREATE ROLE sealpost_relay_owner LOGIN;
CREATE ROLE sealpost_relay LOGIN;
CREATE ROLE sealpost_retention_owner LOGIN;
CREATE ROLE sealpost_retention LOGIN;

-- A role with CREATEROLE alone must be a member of an owner to give it a database.
GRANT sealpost_directory_owner, sealpost_key_vault_owner, sealpost_store_owner, sealpost_relay_owner, sealpost_retention_owner
    TO CURRENT_USER;

-- Order by bytes never changes with the C library.
CREATE DATABASE sealpost_directory OWNER sealpost_directory_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
CREATE DATABASE sealpost_key_vault OWNER sealpost_key_vault_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
CREATE DATABASE sealpost_store OWNER sealpost_store_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
CREATE DATABASE sealpost_relay OWNER sealpost_relay_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
CREATE DATABASE sealpost_retention OWNER sealpost_retention_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';

-- Nobody enters but those two.
REVOKE ALL ON DATABASE sealpost_directory, sealpost_key_vault, sealpost_store, sealpost_relay, sealpost_retention FROM PUBLIC;
GRANT CONNECT ON DATABASE sealpost_directory TO sealpost_directory;
GRANT CONNECT ON DATABASE sealpost_key_vault TO sealpost_key_vault;
GRANT CONNECT ON DATABASE sealpost_store TO sealpost_store;
GRANT CONNECT ON DATABASE sealpost_relay TO sealpost_relay;
GRANT CONNECT ON DATABASE sealpost_retention TO sealpost_retention;

REVOKE sealpost_directory_owner, sealpost_key_vault_owner, sealpost_store_owner, sealpost_relay_owner, sealpost_retention_owner
    FROM CURRENT_USER;
