// Console, current directory and loaded assemblies belong to the process; sessions under test would see each other's.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
