// Package schemastest makes rows, seals and pages for tests, in terms of schemas alone.
package schemastest
