namespace LoraNotebooks.Data;

/// <summary>Finds an image's caption in all places where it may stand: metadata, caption files, the folder's name.</summary>
/// <param name="options">Whether a caption is required.</param>
/// <param name="exists">Whether a file exists.</param>
/// <param name="issues">Where faults go.</param>
internal sealed class CaptionFinder(ImageDatasetOptions options, Func<string, bool> exists, DatasetIssues issues)
{
    /// <summary>Caption files, in the order in which they are looked for.</summary>
    public static readonly string[] Extensions = [".txt", ".caption"];

    /// <summary>The caption of an image, and the caption files that it stands in.</summary>
    /// <param name="image">The image's path.</param>
    /// <param name="metadataText">Its text in metadata.jsonl, if any.</param>
    /// <param name="folder">What its folder's name says, if anything.</param>
    public (string Caption, IReadOnlyList<string> Files) Find(string image, string? metadataText, RepeatFolder? folder)
    {
        var files = Extensions.Select(extension => Path.ChangeExtension(image, extension)).Where(exists).ToList();
        var stated = new List<(string Source, string? Caption)>();
        if (metadataText is not null)
        {
            stated.Add((MetadataFile.Name, FirstLine(metadataText)));
        }

        stated.AddRange(files.Select(file => (Path.GetFileName(file), issues.Try(file, () => Read(file), null))));
        var captions = stated.Where(static s => s.Caption is { Length: > 0 }).Select(static s => s.Caption!).ToList();
        if (captions.Distinct().Count() > 1)
        {
            var sources = stated.Where(static s => s.Caption is { Length: > 0 }).Select(static s => $"{s.Source} says \"{s.Caption}\"");
            issues.Error(DatasetFault.ConflictingCaption, image, $"got different captions: {string.Join("; ", sources)}. Make them equal or remove one.");
        }

        if (captions.Count == 0)
        {
            captions.Add(stated.Count == 0 && folder is { ClassTokens.Length: > 0 } ? FolderCaption(image, folder) : Missing(image, stated.Any(static s => s.Caption is null)));
        }

        return (captions[0], files);
    }

    private string FolderCaption(string image, RepeatFolder folder)
    {
        issues.Warning(DatasetFault.MissingCaption, image, $"got no caption; the folder's name gives \"{folder.ClassTokens}\".");
        return folder.ClassTokens;
    }

    private string Missing(string image, bool reported)
    {
        if (!reported)
        {
            var message = $"got no caption, expected a line of text in {Path.GetFileNameWithoutExtension(image)}.txt or in {MetadataFile.Name}.";
            issues.Add(options.RequireCaptions ? DatasetSeverity.Error : DatasetSeverity.Warning, DatasetFault.MissingCaption, image, message);
        }

        return "";
    }

    /// <summary>The first line of a caption file; null when it is no text, which is then reported.</summary>
    private string? Read(string file)
    {
        var (text, fault) = StrictText.Read(file);
        if (text is null)
        {
            issues.Error(DatasetFault.TextEncoding, file, fault!);
            return null;
        }

        var first = FirstLine(text);
        if (text.Trim() != first)
        {
            issues.Warning(DatasetFault.ExtraCaptionLines, file, $"got more than one line, only the first is used: \"{first}\".");
        }

        return first;
    }

    private static string FirstLine(string text) => text.Split(['\r', '\n'], 2)[0].Trim();
}
