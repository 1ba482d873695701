namespace LoraNotebooks.Interactive.Tests;

/// <summary>Tests that set or look at the host of the whole process run one after the other.</summary>
[CollectionDefinition(nameof(ProcessHost), DisableParallelization = true)]
public sealed class ProcessHost;
