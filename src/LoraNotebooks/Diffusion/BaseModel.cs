namespace LoraNotebooks.Diffusion;

/// <summary>
/// The embedded base model "avatar-diffusion": Stable Diffusion's architecture over 64×64 portraits, which notebooks run on without a download.
/// </summary>
public static class BaseModel
{
    /// <summary>The model's folder in diffusers layout, beside the library's assembly or the application.</summary>
    /// <exception cref="DirectoryNotFoundException">It was not copied along; the message lists where it was looked for.</exception>
    public static string Folder => Find("avatar-diffusion", PipelineFolder.Index);

    /// <summary>The folder of the classifier that says which tags are true of a portrait, see <see cref="Models.Vision.TagClassifier"/>.</summary>
    /// <exception cref="DirectoryNotFoundException">It was not copied along; the message lists where it was looked for.</exception>
    public static string ClassifierFolder => Find("tag-classifier", Models.ModelFolder.Config);

    private static string Find(string name, string file)
    {
        var assembly = Path.GetDirectoryName(typeof(BaseModel).Assembly.Location);
        // In the package, which a notebook loads from where it lies, the assembly is in lib/net10.0 and the models are beside lib.
        string?[] homes = [assembly, AppContext.BaseDirectory, string.IsNullOrEmpty(assembly) ? null : Path.Combine(assembly, "..", "..")];
        var candidates = homes.Where(home => !string.IsNullOrEmpty(home))
            .Select(home => Path.GetFullPath(Path.Combine(home!, "Assets", name)))
            .Distinct()
            .ToList();
        return candidates.Find(folder => File.Exists(Path.Combine(folder, file)))
            ?? throw new DirectoryNotFoundException(
                $"The embedded model {name} is missing; looked in {string.Join(" and ", candidates)}. "
                + "It is copied there by the build: build the project again, or load another model by its folder.");
    }
}
