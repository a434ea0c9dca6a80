#!/usr/bin/env bash
# spark-env.sh [FOLDER]: makes a Python environment with Spark (requirements.txt
# in FOLDER, by default tests/spark) and the jars of Delta (pom.xml there) in its
# folder jars/, unless it is there already, and prints the path of its python.
# PYTHON chooses another interpreter than python3, JAVA_HOME another Java than
# that of PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

folder=${1:-tests/spark}
need_python
java=${JAVA_HOME:+$JAVA_HOME/bin/}java
command -v "$java" >/dev/null || apt_install default-jre-headless ||
	die "no $java (Spark runs on Java 17 or 21). On Debian or Ubuntu: sudo apt-get install default-jre-headless"
version=$("$java" -XshowSettings:properties -version 2>&1 | sed -n 's/.*java.specification.version = //p')
case $version in
1.* | 9 | 1[0-6]) die "Java $version is too old: Spark runs on 17 or 21. Name one with JAVA_HOME=/usr/lib/jvm/java-17-openjdk-amd64" ;;
esac

key=$({
	cat "$folder/requirements.txt" "$folder/pom.xml"
	python_identity
} | sha256)

copy_jars() {
	command -v mvn >/dev/null || apt_install maven ||
		die "no Maven (it fetches the jars of Delta). On Debian or Ubuntu: sudo apt-get install maven"
	with_progress "jars of Delta" \
		mvn --batch-mode --file "$folder/pom.xml" dependency:copy-dependencies -Djars="$1"
	[ -n "$(ls "$1" 2>/dev/null)" ] || die "Maven has copied no jars"
}

build() {
	say "installing Spark ($folder) once, into $PROMARCHIVE_CACHE/spark (about 700 MB, two minutes)"
	copy_jars "$1/jars"
	# Spark comes as source only, and is nothing but files to be copied.
	python_env "$1" "Spark" --no-binary pyspark -r "$folder/requirements.txt"
}

dir=$PROMARCHIVE_CACHE/spark/$key
build_once "$dir" build
echo "$dir/bin/python"
