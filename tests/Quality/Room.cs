namespace Quality;

/// <summary>A part of the product whose tests are held against changes of its code.</summary>
/// <param name="Name">How it is called on the command line, and its folder in the project, e.g. "Training".</param>
/// <param name="Project">The product's project, e.g. "LoraNotebooks".</param>
/// <param name="Floor">The least share of changes that tests must notice, in percent; null where none is asked for.</param>
/// <param name="Tests">What the names of the tests hold that see this room's promises; nothing for all tests of the project.</param>
internal sealed record Room(string Name, string Project, int? Floor, params IReadOnlyList<string> Tests)
{
    /// <summary>Quick tests of the project that come by next to nothing; changes are made beside them.</summary>
    public string Sample => Project switch
    {
        "LoraNotebooks" => ".ArchitectureTests.",
        "LoraNotebooks.Interactive" => ".TypeNamesTests.",
        _ => ".Tool_Project_",
    };

    /// <summary>All rooms; those that must reach a floor come first.</summary>
    public static IReadOnlyList<Room> All { get; } =
    [
        new("Comparison", "LoraNotebooks", 80, ".Comparison."),
        new("Data", "LoraNotebooks", 80, ".Data."),
        new("Formats", "LoraNotebooks", 80, ".Formats.", ".Adapters.", ".Diffusion.Lora"),
        new("Adapters", "LoraNotebooks", 80, ".Adapters.", ".Formats."),
        new("Diffusion", "LoraNotebooks", 80, ".Diffusion."),
        new("Training", "LoraNotebooks", 80, ".Training."),
        new("Hub", "LoraNotebooks", 70, ".Hub."),
        new("Values", "LoraNotebooks.Interactive", 70),
        new("Live", "LoraNotebooks.Interactive", 70),
        new("Running", "LoraNotebooks.Kernel", 70, ".Running."),
        new("Sessions", "LoraNotebooks.Kernel", 70, ".Sessions."),
        new("Tensors", "LoraNotebooks", null, ".Tensors."),
        new("Models", "LoraNotebooks", null, ".Models."),
        new("Charts", "LoraNotebooks.Interactive", null),
        new("Displays", "LoraNotebooks.Interactive", null),
        new("Hosting", "LoraNotebooks.Interactive", null),
        new("Notebooks", "LoraNotebooks.Kernel", null, ".Notebooks."),
        new("Html", "LoraNotebooks.Kernel", null, ".Html."),
        new("Jupyter", "LoraNotebooks.Kernel", null, ".Jupyter."),
    ];
}
