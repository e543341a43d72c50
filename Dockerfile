FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY assets assets
# Crates and compiled dependencies stay in the builder's cache, so that a change of the
# source compiles nothing else. Cargo goes by the age of files, and files of another
# checkout may be older than what was built from the last one: touch makes them new.
# It also wants to see the tests and benchmarks that Cargo.toml names: empty files do.
# A static binary needs an explicit target, or it would be static procedural macros too;
# it is the builder's own, so the image is of the platform that it is built for.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    target=$(rustc -vV | sed -n 's/^host: //p') \
    && mkdir -p tests benches \
    && sed -n '/^\[\[test]]/,/^name/s|^name = "\(.*\)"|tests/\1.rs|p' Cargo.toml | xargs -r touch \
    && sed -n '/^\[\[bench]]/,/^name/s|^name = "\(.*\)"|benches/\1.rs|p' Cargo.toml | xargs -r touch \
    && find src assets -type f -exec touch {} + \
    && RUSTFLAGS='-C target-feature=+crt-static' \
       cargo build --locked --release --features mysql --bin catchat --target "$target" \
    && cp "target/$target/release/catchat" /catchat \
    && mkdir /data

FROM scratch
COPY --from=build /catchat /catchat
# An empty volume that is mounted here takes this owner.
COPY --from=build --chown=10001:10001 /data /data
USER 10001:10001
ENV CATCHAT_LISTEN=0.0.0.0:8080 CATCHAT_STORE=/data
EXPOSE 8080
# Each check starts a process, so not more often than a start can wait for the first one.
HEALTHCHECK --interval=5s --timeout=5s --start-period=5s --retries=3 CMD ["/catchat", "health"]
ENTRYPOINT ["/catchat"]
