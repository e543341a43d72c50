# The stack: three servers behind nginx, run by Docker Compose. Included by the Makefile.
#   CATCHAT_PORT          the port, or address:port; 80 where it is not given
#   COMPOSE_PROJECT_NAME  runs another stack beside the first one, with rooms of its own

.PHONY: up down scale roll logs ps image test-stack stack-ready

# How many servers there are, whether they run or not.
stack-servers = docker compose ps -aq chat | wc -l
# Adds servers of the newest image until there are so many, and leaves the others alone.
stack-scale = docker compose up --detach --wait --no-deps --no-build --no-recreate --scale

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

up: stack-ready ## Start the chat at http://localhost/ (elsewhere with CATCHAT_PORT=8080)
	@port=$$(docker compose config | sed -n 's/^ *published: "\{0,1\}\([0-9]*\)"\{0,1\}$$/\1/p'); \
	if [ -z "$$(docker compose ps -q nginx)" ] && bash -c ": </dev/tcp/127.0.0.1/$$port" 2>/dev/null; then \
		echo "make: another program has port $$port: stop it, or take another port: make up CATCHAT_PORT=8080" >&2; \
		exit 1; \
	fi
	@docker compose build
	@[ -z "$$(docker compose ps -q nginx)" ] || \
	docker compose exec -T nginx cat /etc/nginx/nginx.conf | cmp -s - nginx.conf || \
	docker compose restart nginx
	@servers=$$($(stack-servers)); \
	[ "$$servers" -gt 0 ] || servers=3; \
	docker compose up --detach --wait --no-build --scale chat="$$servers" || { \
		echo "make: the chat did not start; make logs says more." \
			"If the port is not free: make up CATCHAT_PORT=8080" >&2; exit 1; }
	@address=$$(docker compose port nginx 8080 | sed 's/^0\.0\.0\.0:/localhost:/; s/^\[::\]:/localhost:/; s/:80$$//'); \
	echo; \
	echo "The chat is at http://$$address/ and every other path is a room, as http://$$address/tea"; \
	echo "More servers: make scale N=5. The newest source: make roll. The end: make down."

down: stack-ready ## Stop the chat; the rooms stay
	@docker compose down
	@echo "The rooms stay. To delete them too: docker compose down --volumes"

scale: stack-ready ## Run N servers, without an outage: make scale N=5
	@case "$(N)" in [1-9]|[1-9][0-9]) ;; *) \
		echo "make: how many servers? 1 to 99: make scale N=5" >&2; exit 1;; esac
	@$(stack-scale) chat=$(N) chat

# One more server, then one of the old ones less, until no old one is left. nginx asks
# every second which servers there are: it has two to find the new one.
roll: stack-ready ## Replace the servers by ones of the newest source, without an outage
	@docker compose build chat
	@set -e; \
	old=$$(docker compose ps -q chat); \
	[ -n "$$old" ] || { echo "make: nothing runs: make up" >&2; exit 1; }; \
	servers=$$(echo "$$old" | wc -l); \
	all=$$(docker compose ps -aq chat); \
	done=0; \
	for id in $$old; do \
		$(stack-scale) chat=$$((servers + 1)) chat || { \
			for new in $$(docker compose ps -aq chat); do \
				case $$all in *"$$new"*) ;; *) docker rm --force "$$new" >/dev/null;; esac; \
			done; \
			echo "make: a server of the newest source does not get healthy; the old ones go on" >&2; exit 1; }; \
		all=$$(docker compose ps -aq chat); \
		sleep 2; \
		docker stop "$$id" >/dev/null; \
		docker rm "$$id" >/dev/null; \
		done=$$((done + 1)); \
		echo "make: $$done of $$((servers)) replaced"; \
	done

logs: stack-ready ## Follow what the servers and nginx report
	@docker compose logs --follow --tail 100

ps: stack-ready ## List the servers
	@docker compose ps

image: stack-ready ## Build the image catchat
	@docker compose build chat
	@docker compose config --images chat | while read -r image; do \
		docker image inspect --format "$$image: {{.Size}} bytes" "$$image"; done

test-stack: stack-ready ## Test the running stack: three servers, load, restarts, a kill
	@tests/stack/run
