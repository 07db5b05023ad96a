// Silent is an init that never says anything.
package main

import "time"

func main() { time.Sleep(time.Hour) }
