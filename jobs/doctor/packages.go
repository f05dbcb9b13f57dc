package doctor

import (
	"os"
	"os/exec"

	"github.com/usagelake/usagelake/jobs"
)

// checkPackages looks whether the receivers of packages can be given any: nothing is sent. Then at what lacks.
func (d *doctor) checkPackages() {
	for _, r := range d.cfg.Packages.Deliver {
		name := "packages: " + r.Name
		switch {
		case r.Folder != "":
			if info, err := os.Stat(r.Folder); err != nil {
				d.fail(name, "mount it, or make it: mkdir "+r.Folder, "its folder: %v", err)
				continue
			} else if !info.IsDir() {
				d.fail(name, "name a folder", "%s is no folder", r.Folder)
				continue
			}
			d.ok(name, "the folder %s is there", r.Folder)
		case len(r.Command) > 0:
			if _, err := exec.LookPath(r.Command[0]); err != nil {
				d.fail(name, "install it, or write the path of the program", "its command can't be run: %v", err)
				continue
			}
			d.ok(name, "the command %s is there", r.Command[0])
		default:
			if _, err := jobs.PackageWebhook(d.env, r); err != nil {
				d.failure(name, "", err)
				continue
			}
			d.ok(name, "its URL and secret can be read")
		}
	}
	if d.status == nil {
		return // which is said of the lake
	}
	for _, m := range d.status.Packages {
		if problem := m.Problem(); problem != "" {
			d.fail("packages: "+m.Name(), "usagelake package --month "+m.Name(), "%s", problem)
		}
	}
}
