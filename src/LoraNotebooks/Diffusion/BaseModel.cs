namespace LoraNotebooks.Diffusion;

/// <summary>The embedded base model "avatar-diffusion": Stable Diffusion's architecture over 64×64 portraits, which notebooks run on without a download.</summary>
public static class BaseModel
{
    private const string Name = "avatar-diffusion";

    /// <summary>The model's folder in diffusers layout, beside the library's assembly or the application.</summary>
    /// <exception cref="DirectoryNotFoundException">It was not copied along; the message lists where it was looked for.</exception>
    public static string Folder
    {
        get
        {
            string?[] homes = [Path.GetDirectoryName(typeof(BaseModel).Assembly.Location), AppContext.BaseDirectory];
            var candidates = homes.Where(home => !string.IsNullOrEmpty(home)).Select(home => Path.Combine(home!, "Assets", Name)).Distinct().ToList();
            return candidates.Find(folder => File.Exists(Path.Combine(folder, PipelineFolder.Index)))
                ?? throw new DirectoryNotFoundException($"The embedded base model {Name} is missing; looked in {string.Join(" and ", candidates)}. It is copied there by the build: build the project again, or load another model by its folder.");
        }
    }
}
