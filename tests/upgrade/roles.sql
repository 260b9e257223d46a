-- The roles that tests/upgrade/data.sql works with; as a superuser, where tasker_ext is installed in some database of the cluster.
CREATE ROLE app LOGIN;
CREATE ROLE shop_worker;
GRANT tasker_worker TO shop_worker;
GRANT shop_worker TO app;
CREATE DATABASE app OWNER app TEMPLATE template0;
