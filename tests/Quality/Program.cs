using Quality;

switch (args.FirstOrDefault())
{
    case "mutation" or "report":
        var names = args.Skip(1).ToArray();
        if (names.Except(Room.All.Select(static room => room.Name)).ToArray() is [_, ..] unknown)
        {
            Console.Error.WriteLine($"No such room: {string.Join(", ", unknown)}. There are: {string.Join(", ", Room.All.Select(static room => room.Name))}.");
            return 2;
        }

        Room[] rooms = [.. Room.All.Where(room => names.Length == 0 ? room.Floor is not null : names.Contains(room.Name))];
        return args[0] == "mutation" ? Mutation.Run(rooms) : Mutation.Print(rooms);
    case "worker" when args.Length == 2:
        return MutationWorker.Run(args[1]);
    case "coverage":
        return Coverage.Run();
    default:
        Console.Error.WriteLine("""
            Usage: dotnet run --project tests/Quality -- mutation [room …] | report [room …] | coverage
              mutation   changes the code of these rooms in thousands of small ways and counts the changes that no test notices; without a room, all that
                         must reach a share do so (an hour and more on two processors)
              report     prints the last runs' figures once more
              coverage   runs the tests and prints what lines and branches they came by, room by room, and the ten slowest
            """);
        return 2;
}
