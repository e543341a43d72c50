# The stack: three servers behind nginx, run by Docker Compose. Included by the Makefile.
#   CATCHAT_PORT          the port, or address:port; 80 where it is not given
#   COMPOSE_PROJECT_NAME  runs another stack beside the first one, with rooms of its own
#   STORE                 where make up has the rooms: files or mysql; not given, it leaves
#                         them where they are, and where nothing runs, it means files

.PHONY: up down scale roll copy logs ps image test-stack stack-ready stack-same

# Where the rooms of the servers are that there are, running or not; empty without servers.
stack-runs = $(eval stack-runs := $$(shell servers=$$$$(docker compose ps -aq chat 2>/dev/null); \
	[ -z "$$$$servers" ] || { docker inspect --format '{{.Config.Env}}' $$$$servers | \
	grep -q CATCHAT_STORE_FILE= && echo mysql || echo files; }))$(stack-runs)
stack-store = $(stack-runs)
up: stack-store = $(or $(STORE),$(stack-runs),files)
# Compose, with what the store needs.
compose-files = $(or $(COMPOSE_FILE),compose.yaml$(patsubst %,:%,$(wildcard compose.override.yaml)))
compose-mysql = COMPOSE_FILE=$(compose-files):compose.mysql.yaml docker compose --profile mysql
compose = $(if $(filter mysql,$(stack-store)),$(compose-mysql),docker compose)
# How many servers there are, whether they run or not.
stack-servers = $(compose) ps -aq chat | wc -l
# Adds servers of the newest image until there are so many, and leaves the others alone.
stack-scale = $(compose) up --detach --wait --no-deps --no-build --no-recreate --scale
# What MySQL keeps the rooms in.
stack-volume = docker compose --profile mysql config | sed -n 's/^ *name: \(.*_mysql\)$$/\1/p'

# Passwords, made once: they belong to the volume, which keeps those that it began with.
define stack-secrets
set -eu; umask 077; \
	place=$$(docker compose --profile mysql config | sed -n 's,^ *file: "*\(.*\)/mysql-root"*$$,\1,p'); \
	[ ! -d "$$place" ] || exit 0; \
	volume=$$($(stack-volume)); \
	! docker volume inspect "$$volume" >/dev/null 2>&1 || { \
		echo "make: the passwords of the volume $$volume are not in $$place: bring them back," \
			"or delete the volume and the rooms in it: docker volume rm $$volume" >&2; exit 1; }; \
	random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }; \
	password=$$(random); \
	rm -rf "$$place.new"; \
	mkdir -p "$$place.new"; \
	cd "$$place.new"; \
	root=$$(random); \
	printf %s "$$root" >mysql-root; \
	printf 'mysql://catchat:%s@mysql:3306/catchat\n' "$$password" >store; \
	printf '[client]\nuser=catchat\npassword=%s\n' "$$password" >mysql-client; \
	printf '[mysqldump]\nuser=root\npassword=%s\nsingle-transaction\nset-gtid-purged=OFF\n' \
		"$$root" >>mysql-client; \
	printf '%s\n' "CREATE USER catchat@'%' IDENTIFIED BY '$$password';" \
		"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, CREATE VIEW, SHOW VIEW," \
		"LOCK TABLES ON catchat.* TO catchat@'%';" >mysql-accounts; \
	chmod 444 ./*; \
	mv "$$place.new" "$$place"
endef

# Where the rooms are, unless they are in files and always were.
define stack-told
volume=$$($(stack-volume)); \
	case "$(stack-store) $(stack-runs)" in \
	mysql*) echo "The rooms are in MySQL, in the volume $$volume.";; \
	*) ! docker volume inspect "$$volume" >/dev/null 2>&1 || \
		echo "The rooms are in files. Those in MySQL stay in $$volume: make up STORE=mysql";; \
	esac; \
	case "$(stack-store) $(stack-runs)" in \
	"mysql files") echo "Those in files stay where they are: make up STORE=files";; \
	"files mysql") docker compose --profile mysql rm --stop --force mysql;; \
	esac
endef

# What every other target needs, each with the sentence that helps where it is missing.
stack-ready:
	@command -v docker >/dev/null || { \
		echo "make: there is no docker: install Docker, https://docs.docker.com/engine/install/" >&2; exit 1; }
	@version=$$(docker compose version --short 2>/dev/null) || version=none; \
	case $${version#v} in 2.[0-9].*|[01].*|none) \
		echo "make: Docker Compose 2.10 or newer is needed, and this is $$version:" \
			"install docker-compose-plugin, https://docs.docker.com/compose/install/" >&2; exit 1;; \
	esac
	@error=$$(docker version 2>&1 >/dev/null) || { \
		echo "$$error" >&2; \
		case $$error in \
		*"permission denied"*) echo "make: Docker does not let you: run this as root, or join the group docker" >&2;; \
		*) echo "make: the Docker daemon does not answer: start it (systemctl start docker, or Docker Desktop)" >&2;; \
		esac; exit 1; }
	@case "$(STORE)" in ""|files|mysql) ;; *) \
		echo "make: STORE=$(STORE): there are files and mysql" >&2; exit 1;; esac

# For what does not change the store.
stack-same: stack-ready
	@case "$(STORE)" in ""|"$(stack-runs)") ;; *) \
		echo "make: the servers have their rooms elsewhere than in $(STORE): make up STORE=$(STORE)" >&2; exit 1;; esac

up: stack-ready ## Start the chat at http://localhost/ (CATCHAT_PORT=8080), with STORE=mysql on MySQL
	@port=$$($(compose) config | sed -n 's/^ *published: "\{0,1\}\([0-9]*\)"\{0,1\}$$/\1/p'); \
	if [ -z "$$($(compose) ps -q nginx)" ] && bash -c ": </dev/tcp/127.0.0.1/$$port" 2>/dev/null; then \
		echo "make: another program has port $$port: stop it, or take another port: make up CATCHAT_PORT=8080" >&2; \
		exit 1; \
	fi
	@$(compose) build
	@[ -z "$$($(compose) ps -q nginx)" ] || \
	$(compose) exec -T nginx cat /etc/nginx/nginx.conf | cmp -s - nginx.conf || \
	$(compose) restart nginx
	@$(if $(filter mysql,$(stack-store)),$(stack-secrets),:)
	@servers=$$($(stack-servers)); \
	[ "$$servers" -gt 0 ] || servers=3; \
	$(compose) up --detach --wait --no-build --scale chat="$$servers" || { \
		echo "make: the chat did not start; make logs says more." \
			"If the port is not free: make up CATCHAT_PORT=8080" >&2; exit 1; }
	@address=$$($(compose) port nginx 8080 | sed 's/^0\.0\.0\.0:/localhost:/; s/^\[::\]:/localhost:/; s/:80$$//'); \
	echo; \
	echo "The chat is at http://$$address/ and every other path is a room, as http://$$address/tea"; \
	echo "More servers: make scale N=5. The newest source: make roll. The end: make down."
	@$(stack-told)

down: stack-ready ## Stop the chat; the rooms stay
	@$(compose) --profile mysql down
	@echo "The rooms stay. To delete them too: $(if $(filter mysql,$(stack-runs)),\
	docker compose --profile mysql down --volumes. To go on with them: make up STORE=mysql,\
	docker compose down --volumes)"

scale: stack-same ## Run N servers, without an outage: make scale N=5
	@case "$(N)" in [1-9]|[1-9][0-9]) ;; *) \
		echo "make: how many servers? 1 to 99: make scale N=5" >&2; exit 1;; esac
	@$(stack-scale) chat=$(N) chat

# One more server, then one of the old ones less, until no old one is left. nginx asks
# every second which servers there are: it has two to find the new one.
roll: stack-same ## Replace the servers by ones of the newest source, without an outage
	@$(compose) build chat
	@set -e; \
	old=$$($(compose) ps -q chat); \
	[ -n "$$old" ] || { echo "make: nothing runs: make up" >&2; exit 1; }; \
	servers=$$(echo "$$old" | wc -l); \
	all=$$($(compose) ps -aq chat); \
	done=0; \
	for id in $$old; do \
		$(stack-scale) chat=$$((servers + 1)) chat || { \
			for new in $$($(compose) ps -aq chat); do \
				case $$all in *"$$new"*) ;; *) docker rm --force "$$new" >/dev/null;; esac; \
			done; \
			echo "make: a server of the newest source does not get healthy; the old ones go on" >&2; exit 1; }; \
		all=$$($(compose) ps -aq chat); \
		sleep 2; \
		docker stop "$$id" >/dev/null; \
		docker rm "$$id" >/dev/null; \
		done=$$((done + 1)); \
		echo "make: $$done of $$((servers)) replaced"; \
	done

# While the servers go on: what they get meanwhile comes when it is run again.
copy: stack-ready ## Copy all rooms into the other store: make copy TO=mysql, or TO=files
	@case "$(TO)" in files|mysql) ;; *) \
		echo "make: copy to where? make copy TO=mysql, or make copy TO=files" >&2; exit 1;; esac
	@$(stack-secrets)
	@$(compose-mysql) up --detach --wait --no-recreate mysql
	@$(compose-mysql) run --rm --no-deps chat copy \
		$(if $(filter mysql,$(TO)),/data @/run/secrets/store,@/run/secrets/store /data)

logs: stack-ready ## Follow what the servers and nginx report
	@$(compose) logs --follow --tail 100

ps: stack-ready ## List the servers
	@$(compose) ps

image: stack-ready ## Build the image catchat
	@docker compose build chat
	@docker compose config --images chat | while read -r image; do \
		docker image inspect --format "$$image: {{.Size}} bytes" "$$image"; done

test-stack: stack-ready ## Test the running stack: load, restarts, kills; with STORE=mysql on MySQL
	@STORE=$(or $(STORE),files) tests/stack/run
