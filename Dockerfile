# Caddy with mcp_auth_bridge, built from this clone:
#
#	docker build -t caddy-mcp .
#	docker run -p 80:80 -p 443:443 -p 443:443/udp -v $PWD/Caddyfile:/etc/caddy/Caddyfile -v caddy_data:/data caddy-mcp
#
# Stdio servers run inside the container. Name what they need, for example Node:
#
#	docker build -t caddy-mcp --build-arg PACKAGES="nodejs npm" .

FROM --platform=$BUILDPLATFORM docker.io/library/golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags="-s -w" -o /caddy ./cmd/caddy

# The official image has the directories, the certificates and the start command.
FROM docker.io/library/caddy:2.11.9-alpine
ARG PACKAGES=""
RUN if [ -n "$PACKAGES" ]; then apk add --no-cache $PACKAGES; fi
COPY --from=build /caddy /usr/bin/caddy
