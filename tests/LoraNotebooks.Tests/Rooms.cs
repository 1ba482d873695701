namespace LoraNotebooks.Tests;

/// <summary>The rooms under src/ and who may know whom; src/README.md shows who does.</summary>
internal static class Rooms
{
    public const string Foundation = "Foundation";

    /// <summary>From the ground up, and of each room the ones that it may know. Foundation stands below all of them, which each may know.</summary>
    public static OrderedDictionary<string, string[]> Allowed { get; } = new()
    {
        [Foundation] = [],
        ["Tensors"] = [],
        ["Formats"] = ["Tensors"],
        ["Adapters"] = ["Tensors", "Formats"],
        ["Models"] = ["Tensors", "Formats"],
        ["Data"] = ["Tensors"],
        ["Hub"] = [],
        ["Diffusion"] = ["Tensors", "Formats", "Adapters", "Models", "Data", "Hub"],
        ["Training"] = ["Tensors", "Formats", "Adapters", "Models", "Data", "Diffusion"],
        ["Comparison"] = ["Models", "Data", "Diffusion"],
        ["Interactive"] = ["Adapters", "Data", "Training", "Comparison"],
        ["Kernel"] = ["Tensors", "Formats", "Adapters", "Models", "Data", "Hub", "Diffusion", "Training", "Interactive"],
    };

    /// <summary>Where a room's code lies under src/: in a folder of the library, or in a project of its own.</summary>
    public static string[] Folder(string room) => room is "Interactive" or "Kernel" ? [$"{SourceTree.Library}.{room}"] : [SourceTree.Library, room];

    /// <summary>Where the code of a room names other rooms than Foundation.</summary>
    public static IEnumerable<(string File, int Line, string Room)> References(string room) =>
        from reference in SourceTree.References(Folder(room))
        let other = reference.Name.Split('.')[1]
        where other != room && other != Foundation && Allowed.ContainsKey(other)
        select (reference.File, reference.Line, other);
}
