SUDO = $(if $(filter 0,$(shell id -u)),,sudo)
include debian/deb.mk
