// Silent is an init that never says anything but a greeting on the console.
package main

import (
	"fmt"
	"time"
)

func main() {
	fmt.Println("silent from now on")
	time.Sleep(time.Hour)
}
