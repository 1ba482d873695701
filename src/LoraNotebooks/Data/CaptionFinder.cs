namespace LoraNotebooks.Data;

/// <summary>Finds an image's caption in all places where it may stand: metadata, caption files, the folder's name.</summary>
/// <param name="options">Whether a caption is required, and how long it may be.</param>
/// <param name="files">All files that there are.</param>
/// <param name="issues">Where faults go.</param>
internal sealed class CaptionFinder(ImageDatasetOptions options, IEnumerable<string> files, DatasetIssues issues)
{
    /// <summary>Caption files, in the order in which they are looked for; cameras and Windows write them in capitals, too.</summary>
    public static readonly string[] Extensions = [".txt", ".caption"];

    private readonly ILookup<string, string> _captionFiles = files.Where(IsCaption).ToLookup(Stem, StringComparer.OrdinalIgnoreCase);

    /// <summary>Whether a file is a caption by its name.</summary>
    public static bool IsCaption(string file) => Extensions.Contains(Path.GetExtension(file), StringComparer.OrdinalIgnoreCase);

    /// <summary>The caption of an image, and the caption files that it stands in.</summary>
    /// <param name="image">The image's path.</param>
    /// <param name="metadataText">Its text in metadata.jsonl, if any.</param>
    /// <param name="folder">What its folder's name says, if anything.</param>
    public (string Caption, IReadOnlyList<string> Files) Find(string image, string? metadataText, RepeatFolder? folder)
    {
        var files = FilesOf(image);
        var stated = new List<(string Source, string? Caption)>();
        if (metadataText is not null)
        {
            var first = FirstLine(metadataText);
            if (metadataText.Trim() != first)
            {
                issues.Warning(DatasetFault.ExtraCaptionLines, image, $"got more than one line in {MetadataFile.Name}, only the first is used: \"{first}\".");
            }

            stated.Add((MetadataFile.Name, Clean(first, image, MetadataFile.Name)));
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
            captions.Add(stated.Count == 0 && folder is { ClassTokens.Length: > 0 }
                ? FolderCaption(image, folder)
                : Missing(image, stated.Any(static s => s.Caption is null)));
        }

        if (options.MaxTokenLength is { } most && CaptionLength.LeastTokens(captions[0]) is var length && length > most)
        {
            issues.Warning(
                DatasetFault.LongCaption,
                image,
                $"its caption has {length} tokens or more, {most} are seen: what comes after them is not learnt. "
                + "Shorten it, or set Reading.MaxTokenLength for training and MaxTokenLength here.");
        }

        return (captions[0], files);
    }

    /// <summary>The caption files of an image: of its name to the letter, or, where there are none, in other capitals.</summary>
    private List<string> FilesOf(string image)
    {
        var stem = Stem(image);
        var ofAnyCase = _captionFiles[stem].ToList();
        var exact = ofAnyCase.Where(file => Stem(file) == stem).ToList();
        return [.. (exact.Count > 0 ? exact : ofAnyCase)
            .OrderBy(static file => Array.FindIndex(Extensions, extension => file.EndsWith(extension, StringComparison.OrdinalIgnoreCase)))
            .ThenBy(static file => file, StringComparer.Ordinal)];
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

        return Clean(first, file, null);
    }

    private string Clean(string caption, string file, string? where)
    {
        var (clean, found) = InvisibleText.Clean(caption);
        if (found is not null)
        {
            issues.Warning(
                DatasetFault.InvisibleCharacters,
                file,
                $"got characters that cannot be seen{(where is null ? "" : $" in {where}")} ({found}): "
                + "they are left out, other spaces are read as plain ones.");
        }

        return clean.Trim();
    }

    private static string Stem(string file) => Path.ChangeExtension(file, null);

    private static string FirstLine(string text) => text.Split(['\r', '\n'], 2)[0].Trim();
}
