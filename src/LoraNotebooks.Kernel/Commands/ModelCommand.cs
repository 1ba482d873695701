using System.CommandLine;
using System.Globalization;
using LoraNotebooks.Foundation;
using LoraNotebooks.Hub;
using LoraNotebooks.Kernel.Running;
using Spectre.Console;

namespace LoraNotebooks.Kernel.Commands;

/// <summary><c>model</c>: fetches models from the hub into the Hugging Face cache, lists it, and tells where a model is.</summary>
internal static class ModelCommand
{
    private const int Failed = 1;

    /// <param name="settings">The cache and the server; default those of the environment, read when the command runs.</param>
    public static Command Create(Func<HubSettings>? settings = null)
    {
        settings ??= HubSettings.FromEnvironment;
        return new Command("model", "Models of the Hugging Face hub, in the cache that Python's huggingface_hub uses too.")
        {
            Download(settings),
            List(settings),
            Locate(settings),
        };
    }

    private static Command Download(Func<HubSettings> settings)
    {
        var name = new Argument<string>("model") { Description = "The model on the hub.", HelpName = "org/name" };
        var revision = new Option<string?>("--revision") { Description = "A branch, a tag or a commit; default main.", HelpName = "revision" };
        var variant = new Option<string?>("--variant")
        {
            Description = "The variant of the weights, such as fp16; components without it are fetched plain.",
            HelpName = "fp16",
        };
        var files = new Option<string[]>("--file")
        {
            Description = "Fetches only the files that match: --file \"unet/*\". Default: the files that the toolkit needs.",
            HelpName = "pattern",
            DefaultValueFactory = static _ => [],
        };
        var command = new Command(
            "download",
            "Fetches a model; an interrupted download goes on where it ended. "
                + "Only safetensors, JSON and text files are fetched, never pickled weights. The access token of a gated model is read from HF_TOKEN.")
        {
            name, revision, variant, files,
        };
        command.SetAction((arguments, cancellation) => TryAsync(async () =>
        {
            var id = HubId.Parse(arguments.GetRequiredValue(name));
            id = arguments.GetValue(revision) is { } named ? id.At(named) : id;
            var options = new DownloadOptions { Variant = arguments.GetValue(variant), Files = arguments.GetRequiredValue(files) };
            using var client = new HubClient(settings());
            var folder = await DownloadTerminal.ShowAsync(progress => client.DownloadAsync(id, options, progress, cancellation)).ConfigureAwait(false);
            Console.WriteLine(folder);
            return (int)RunExit.Ok;
        }));
        return command;
    }

    private static Command List(Func<HubSettings> settings)
    {
        var command = new Command("list", "Lists the models in the cache: name, revision, size, files, last use.");
        command.SetAction((_, _) => TryAsync(() =>
        {
            var cache = new HubCache(settings().CacheFolder);
            var models = cache.Models();
            if (models.Count == 0)
            {
                Console.WriteLine($"No models in {cache.Folder}.");
                return Task.FromResult((int)RunExit.Ok);
            }

            var table = new Table()
                .Border(TableBorder.None)
                .AddColumn("Model")
                .AddColumn("Revision")
                .AddColumn(new TableColumn("Size").RightAligned())
                .AddColumn(new TableColumn("Files").RightAligned())
                .AddColumn("Last use");
            foreach (var model in models)
            {
                table.AddRow(
                    new Text(model.Name),
                    new Text(string.Join(' ', model.Revisions.Append(model.Commit[..Math.Min(8, model.Commit.Length)]))),
                    new Text(ByteSize.Text(model.Bytes)),
                    new Text(model.Files.ToString(CultureInfo.InvariantCulture)),
                    new Text(model.LastUsedUtc.ToLocalTime().ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture)));
            }

            var terminal = DownloadTerminal.Console();
            terminal.Write(table);
            terminal.WriteLine($"in {cache.Folder}");
            return Task.FromResult((int)RunExit.Ok);
        }));
        return command;
    }

    private static Command Locate(Func<HubSettings> settings)
    {
        var name = new Argument<string>("model") { Description = "The model on the hub, or a folder.", HelpName = "org/name[@revision]" };
        var command = new Command("path", "Writes the folder of a model in the cache, and nothing else; exits with 3 if the cache does not hold it.") { name };
        command.SetAction((arguments, _) => TryAsync(() =>
        {
            Console.WriteLine(ModelSource.Resolve(arguments.GetRequiredValue(name), settings()));
            return Task.FromResult((int)RunExit.Ok);
        }));
        return command;
    }

    /// <summary>Does the work; says on the error output what kept it from being done, so that the output stays a path.</summary>
    private static async Task<int> TryAsync(Func<Task<int>> work)
    {
        try
        {
            return await work().ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine("Stopped; what was fetched is kept. Run the same command to go on.");
            return (int)RunExit.Canceled;
        }
        catch (FileNotFoundException error)
        {
            Console.Error.WriteLine(error.Message);
            return (int)RunExit.FileNotFound;
        }
        catch (FormatException error)
        {
            Console.Error.WriteLine(error.Message);
            return (int)RunExit.BadParameters;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine(error.Message);
            return error is HubException { Failure: HubFailure.NotFound } ? (int)RunExit.FileNotFound : Failed;
        }
    }
}
